#include <Ethernet.h>
