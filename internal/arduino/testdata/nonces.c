/* Writes 600 nonces of the class to GPIOR1, as hexadecimal numbers, a line for each. */
#include <avr/io.h>
#define WT_API static
#include "wt_core.h"
#include "watchtower_nonce.h"

WT_DEVICE("lamp", 0);

static wt_size wt_receive(uint8_t *to) { return *to; }
static void wt_transmit(const uint8_t *frame, wt_size n) { (void)frame, (void)n; }
static uint16_t wt_clock(void) { return 0; }
static void wt_done(uint8_t op, uint8_t code) { (void)op, (void)code; }
static uint8_t wt_message(const wt_message_t *m, wt_size n) { return m->hint + n; }

static void put(uint8_t digit) { GPIOR1 = digit < 10 ? '0' + digit : 'a' - 10 + digit; }

int main(void) {
	uint16_t n;
	uint8_t i;
	for (n = 0; n < 600; n++) {
		wt_nonce(wt_self.head);
		for (i = 0; i < 8; i++) {
			put(wt_self.head[i] >> 4);
			put(wt_self.head[i] & 15);
		}
		GPIOR1 = '\n';
	}
	wt_begin();
	for (;;) wt_loop();
}
