// The sketch class.ino without the class, as somebody writes it who knows the core in C: it makes
// the same calls, of the same UDP, with the same nonce, and has one function for both ways to speak,
// which the compiler is told not to repeat.
#include <Ethernet.h>
#define WT_API static
#include <wt_core.h>

WT_DEVICE("lamp", 0x31, 0x91, 0x55, 0x10, 0x1a, 0x72, 0x60, 0x1f, 0x81, 0x64, 0xb4, 0xcf, 0xe9, 0x3c, 0x20, 0xa2);

EthernetUDP udp;
char text[8];
static uint8_t joined; // 0: not yet, 1: asked for, 2: yes

static wt_size wt_receive(uint8_t *to) {
	int n = udp.parsePacket();
	if (n <= 0 || n > WT_BUFFER) return 0;
	return (wt_size)udp.read(to, (size_t)n);
}
static void wt_transmit(const uint8_t *frame, wt_size n) {
	udp.beginPacket(IPAddress(192, 168, 1, 10), 3033);
	udp.write(frame, n);
	udp.endPacket();
}
static uint16_t wt_clock() { return (uint16_t)(millis() >> 8); }
#include <watchtower_nonce.h>
static uint8_t wt_message(const wt_message_t *m, wt_size) {
	GPIOR1 = m->data[0];
	return 1;
}
static void wt_done(uint8_t op, uint8_t code) {
	if (op == 'r') joined = 0;
	if (op == 'j' && !code) joined = 2;
	GPIOR1 = op + code;
}

static __attribute__((noinline)) uint8_t say(uint32_t channel, const char *said) {
	uint8_t code = wt_broadcast(channel, said, (wt_size)strlen(said));
	if (!code) wt_flags(5);
	return code;
}

void setup() {
	if (udp.begin(3033)) wt_begin();
}

void loop() {
	uint8_t code;
	wt_loop();
	if (!joined && !wt_join(5)) joined = 1;
	if (joined != 2 || wt_self.left) return;
	switch (GPIOR0) {
	case 1: GPIOR1 = say(5, text); break;
	case 2:
		code = say(5, text);
		if (!code) wt_to(GPIOR1);
		GPIOR1 = code;
		break;
	case 3: GPIOR1 = wt_ping(); break;
	case 4: GPIOR1 = wt_sleep(GPIOR1); break;
	}
}
