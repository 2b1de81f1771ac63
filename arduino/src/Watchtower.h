// A Watchtower device that speaks and hears, with session frames. See WatchtowerSession.h
// for what it can do, and for what a sketch may define before this line.
#ifndef WATCHTOWER_H
#define WATCHTOWER_H
#define WT_SENSOR 0
#include "WatchtowerSession.h"
#endif
