// A Watchtower device that speaks and hears nothing: smaller than Watchtower.h.
#ifndef WATCHTOWER_SENSOR_H
#define WATCHTOWER_SENSOR_H
#define WT_SENSOR 1
#include "WatchtowerSession.h"
#endif
