#ifndef Udp_h
#define Udp_h
#include <Arduino.h>

class UDP {
public:
	virtual ~UDP() {}
	virtual uint8_t begin(uint16_t) = 0;
	virtual int beginPacket(IPAddress, uint16_t) = 0;
	virtual size_t write(const uint8_t *, size_t) = 0;
	virtual int endPacket() = 0;
	virtual int parsePacket() = 0;
	virtual int read(unsigned char *, size_t) = 0;
	virtual IPAddress remoteIP() = 0;
	virtual uint16_t remotePort() = 0;
};
#endif
