// Eight bytes that never repeat, for each board. WatchtowerSession.h includes it.
#ifndef WATCHTOWER_NONCE_H
#define WATCHTOWER_NONCE_H

#if defined(WATCHTOWER_RANDOM32) // a sketch's own: 32 bits from a hardware generator
#elif defined(ESP8266)
#define WATCHTOWER_RANDOM32() RANDOM_REG32
#elif defined(ESP32)
#define WATCHTOWER_RANDOM32() esp_random()
#elif defined(ARDUINO_ARCH_RP2040) && !defined(ARDUINO_ARCH_MBED)
#define WATCHTOWER_RANDOM32() rp2040.hwrand32()
#elif !defined(__AVR__)
#error "define WATCHTOWER_RANDOM32() before the include: 32 bits from the board's random generator"
#endif

#ifdef WATCHTOWER_RANDOM32

static void wt_nonce(uint8_t *to) {
	for (uint8_t i = 0; i < 8; i += 4) {
		uint32_t r = WATCHTOWER_RANDOM32();
		memcpy(to + i, &r, 4);
	}
}

#else

#include <avr/eeprom.h>

#ifndef WATCHTOWER_EEPROM // the first of four bytes that belong to the library
#define WATCHTOWER_EEPROM (E2END - 3)
#endif

// wt_nonce raises a counter in the EEPROM, and takes the hash of it and the name, by the
// device's key. The high bytes are written first, and a byte that is being written has all
// the bits of its old value or all of its new one: a loss of power leaves the counter
// higher, never lower.
static void wt_nonce(uint8_t *to) {
	uint8_t *at = (uint8_t *)WATCHTOWER_EEPROM, *text = (uint8_t *)&wt_self.frame, n, i;
	uint32_t counter = eeprom_read_dword((uint32_t *)at) + 1;
	memcpy(text + 1, &counter, 4);
	for (i = 4; i; i--) eeprom_update_byte(at + i - 1, text[i]);
	text[0] = 0;
	n = 5 + (wt_self.head_n - 24);
	strcpy((char *)text + 5, watchtower.name);
	wt_tag(wt_self.key, text, n);
	memcpy(to, text + n, 8);
}

#endif
#endif
