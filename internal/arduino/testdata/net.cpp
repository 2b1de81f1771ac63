// A network that does nothing. It is compiled by itself, as a real one is.
#include <Arduino.h>
#include <Ethernet.h>

EthernetClass Ethernet;
int EthernetClass::begin(uint8_t *) { return 1; }
uint8_t EthernetUDP::begin(uint16_t) { return 1; }
void EthernetUDP::stop() {}
int EthernetUDP::beginPacket(IPAddress, uint16_t) { return 1; }
int EthernetUDP::beginPacket(const char *, uint16_t) { return 1; }
int EthernetUDP::endPacket() { return 1; }
size_t EthernetUDP::write(uint8_t) { return 1; }
size_t EthernetUDP::write(const uint8_t *, size_t n) { return n; }
int EthernetUDP::parsePacket() { return GPIOR0; }
int EthernetUDP::available() { return 0; }
int EthernetUDP::read() { return 0; }
int EthernetUDP::read(unsigned char *, size_t n) { return n; }
int EthernetUDP::read(char *, size_t n) { return n; }
int EthernetUDP::peek() { return 0; }
void EthernetUDP::flush() {}
IPAddress EthernetUDP::remoteIP() { return IPAddress(); }
uint16_t EthernetUDP::remotePort() { return 0; }
