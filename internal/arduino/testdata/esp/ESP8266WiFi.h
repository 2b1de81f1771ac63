#include <WiFi.h>
