// Enough of the library Ethernet to compile the examples.
#ifndef Ethernet_h
#define Ethernet_h
#include <Arduino.h>
#include <Udp.h>

struct EthernetClass {
	int begin(uint8_t *mac);
};
extern EthernetClass Ethernet;

class EthernetUDP : public UDP {
public:
	uint8_t begin(uint16_t) override;
	void stop() override;
	int beginPacket(IPAddress, uint16_t) override;
	int beginPacket(const char *, uint16_t) override;
	int endPacket() override;
	size_t write(uint8_t) override;
	size_t write(const uint8_t *, size_t) override;
	int parsePacket() override;
	int available() override;
	int read() override;
	int read(unsigned char *, size_t) override;
	int read(char *, size_t) override;
	int peek() override;
	void flush() override;
	IPAddress remoteIP() override;
	uint16_t remotePort() override;
};
#endif
