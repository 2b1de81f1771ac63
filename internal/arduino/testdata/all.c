/* A program that uses everything, to see how large that is. */
#include "wt.h"

WT_DEVICE("lamp", 0x31, 0x91, 0x55, 0x10, 0x1a, 0x72, 0x60, 0x1f, 0x81, 0x64, 0xb4, 0xcf, 0xe9, 0x3c, 0x20, 0xa2);

volatile uint8_t v;
const uint8_t *volatile data;

wt_size wt_receive(uint8_t *to) { to[0] = v; return v; }
void wt_transmit(const uint8_t *frame, wt_size n) { v = frame[n]; }
uint16_t wt_clock(void) { return v; }
void wt_nonce(uint8_t *to) { to[0] = v; }
void wt_done(uint8_t op, uint8_t code) { v = op + code; }
#if !WT_SENSOR
uint8_t wt_message(const wt_message_t *m, wt_size n) { v = m->data[0] + n; return v; }
#endif

int main(void) {
	wt_begin();
	for (;;) {
		wt_loop();
		if (v == 1) v = wt_join(v);
		if (v == 2) v = wt_broadcast(v, data, v);
		if (v == 3) v = wt_ping();
#if !WT_SENSOR
		if (v == 4) v = wt_leave(v);
		if (v == 5) wt_to(v);
		if (v == 6) wt_flags(v);
		if (v == 7) v = wt_sleep(v);
#endif
	}
}
