// Enough of the Arduino core to run the class on a PC.
#ifndef Arduino_h
#define Arduino_h
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define PROGMEM
#define pgm_read_byte(p) (*(const uint8_t *)(p))
#define memcpy_P memcpy
#define strlen_P strlen

unsigned long millis();

class IPAddress {
public:
	IPAddress() : value(0) {}
	IPAddress(uint32_t value) : value(value) {}
	IPAddress(uint8_t a, uint8_t b, uint8_t c, uint8_t d) : value(a | b << 8 | c << 16 | (uint32_t)d << 24) {}
	operator uint32_t() const { return value; }
	uint8_t operator[](int i) const { return (uint8_t)(value >> 8 * i); }

private:
	uint32_t value;
};
#endif
