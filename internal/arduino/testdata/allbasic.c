/* The same with basic frames. */
#include "wt_basic.h"

WT_KEY("correct horse battery staple");

volatile uint8_t v;
const uint8_t *volatile data;

uint8_t wt_receive(uint8_t *to) { to[0] = v; return v; }
void wt_transmit(const uint8_t *frame, uint8_t n) { v = frame[n]; }
uint16_t wt_clock(void) { return v; }
void wt_done(uint8_t op, uint8_t code) { v = op + code; }
void wt_message(const wt_message_t *m, uint8_t n) { v = m->data[0] + n; }

int main(void) {
	wt_begin();
	for (;;) {
		wt_loop();
		if (v == 1) v = wt_join(v);
		if (v == 2) v = wt_broadcast(v, data, v);
		if (v == 3) v = wt_send(v, v, data, v);
		if (v == 4) v = wt_leave(v);
	}
}
