// A sketch that uses all of the class Watchtower. See core.ino.
#include <Ethernet.h>
#include <Watchtower.h>

EthernetUDP udp;
char text[8];
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
