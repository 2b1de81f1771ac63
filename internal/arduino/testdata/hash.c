/* A program for the simulated processor that makes the hash of 0, 1, 2 ... of each length up to
 * 99, and tells them by GPIOR1. */
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>

void wt_tag(const uint8_t *key, uint8_t *text, uint8_t n);

static uint8_t key[16], text[108];

static void tell(uint8_t nibble) { GPIOR1 = nibble < 10 ? '0' + nibble : 'a' - 10 + nibble; }

int main(void) {
	uint8_t n, i;
	for (i = 0; i < 16; i++) key[i] = i;
	for (n = 0; n < 100; n++) {
		for (i = 0; i < n; i++) text[i] = i;
		wt_tag(key, text, n);
		for (i = n; i < n + 8; i++) {
			tell(text[i] >> 4);
			tell(text[i] & 15);
		}
		GPIOR1 = '\n';
	}
	set_sleep_mode(SLEEP_MODE_IDLE); /* the simulator ends where nothing could wake it */
	sei();
	sleep_enable();
	for (;;) sleep_cpu();
}
