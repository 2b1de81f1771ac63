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

// A nonce is a counter in the EEPROM and a count in RAM, which begins anew with each start. So the
// EEPROM is written once for a start, and then for each 256th registration: whoever makes the
// device register again and again does not wear it out. The high bytes are written first, and a
// byte that is being written has all the bits of its old value or all of its new one: a loss of
// power leaves the counter higher, never lower. With a key of its own that is all that a device
// needs; devices that share a key take the hash of it and their name.
static void wt_nonce(uint8_t *to) {
	static uint8_t count;
	uint8_t *at = (uint8_t *)WATCHTOWER_EEPROM, i;
	eeprom_read_block(to, at, 4);
	if (!count++) {
		wt_add(WT_AT(head), 1); // to is there
		for (i = 4; i--;) eeprom_update_byte(at + i, to[i]);
	}
	to[4] = count;
#if !WT_OWN_KEY
	uint8_t *text = (uint8_t *)&wt_self.frame, n = 6 + watchtower.device->name_n;
	text[0] = 0;
	memcpy(text + 1, to, 5);
	memcpy(text + 6, watchtower.device->name, watchtower.device->name_n);
	wt_tag(wt_self.key, text, n);
	memcpy(to, text + n, 8);
#endif
}

#endif
#endif
