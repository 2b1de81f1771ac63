// What the class Watchtower adds: a sketch with it, and one that uses the same parts of the
// Arduino core without it. Both link with a UDP that does nothing.
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

EthernetUDP udp;
char text[8];

#ifdef WITHOUT

void setup() { udp.begin(3033); }
void loop() {
	UDP *u = &udp;
	int n = u->parsePacket();
	u->read((unsigned char *)text, n);
	u->beginPacket(IPAddress((uint32_t)millis()), 3033);
	u->write((const uint8_t *)text, strlen(text));
	u->endPacket();
}

#else

#include <Watchtower.h>

const unsigned char device_key[16] PROGMEM = {0x31, 0x91, 0x55, 0x10, 0x1a, 0x72, 0x60, 0x1f, 0x81, 0x64, 0xb4, 0xcf, 0xe9, 0x3c, 0x20, 0xa2};
Watchtower wt(udp, "lamp", device_key);

void heard(const WatchtowerMessage &m) { GPIOR1 = m.data()[0]; }
void done(uint8_t op, uint8_t code) { GPIOR1 = op + code; }

void setup() {
	wt.onMessage(heard);
	wt.onDone(done);
	wt.join(5);
#ifdef WATCHTOWER_FIND
	wt.begin();
#else
	wt.begin(IPAddress(192, 168, 1, 10));
#endif
}

void loop() {
	wt.loop();
	if (!wt.ready()) return;
	switch (GPIOR0) {
	case 1: GPIOR1 = wt.broadcast(5, text); break;
	case 2: GPIOR1 = wt.send(5, GPIOR1, text); break;
	case 3: GPIOR1 = wt.ping(); break;
	case 4: GPIOR1 = wt.sleep(GPIOR1); break;
	}
}

#endif
