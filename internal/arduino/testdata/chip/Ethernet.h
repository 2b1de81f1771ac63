// The library Ethernet for the chip of the simulated processor, at GPIOR0 and GPIOR2. Each of its
// datagrams has its other end's address before it.
#ifndef Ethernet_h
#define Ethernet_h
#include <Arduino.h>
#include <Udp.h>

struct EthernetClass {
	int begin(uint8_t *) { return 1; }
};
static EthernetClass Ethernet;

class EthernetUDP : public UDP {
public:
	uint8_t begin(uint16_t) override { return 1; }
	void stop() override {}
	int beginPacket(IPAddress to, uint16_t) override {
		for (uint8_t i = 0; i < 4; i++) GPIOR2 = to[i];
		return 1;
	}
	int beginPacket(const char *, uint16_t) override { return 0; }
	int endPacket() override {
		GPIOR0 = 1;
		return 1;
	}
	size_t write(uint8_t b) override {
		GPIOR2 = b;
		return 1;
	}
	size_t write(const uint8_t *b, size_t n) override {
		for (size_t i = 0; i < n; i++) GPIOR2 = b[i];
		return n;
	}
	int parsePacket() override {
		GPIOR0 = 2;
		left = GPIOR2;
		left |= (unsigned)GPIOR2 << 8;
		if (left < 4) return 0;
		for (uint8_t i = 0; i < 4; i++) from[i] = GPIOR2;
		return left -= 4;
	}
	int available() override { return left; }
	int read() override { return left ? left--, GPIOR2 : -1; }
	int read(unsigned char *to, size_t most) override {
		size_t i = 0;
		while (i < most && left) to[i++] = read();
		return i;
	}
	int read(char *to, size_t most) override { return read((unsigned char *)to, most); }
	int peek() override { return -1; }
	void flush() override {}
	IPAddress remoteIP() override { return from; }
	uint16_t remotePort() override { return 3033; }

private:
	unsigned left = 0;
	IPAddress from;
};
#endif
