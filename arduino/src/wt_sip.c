/* SipHash-2-4 in C, for all processors that wt_sip.S is not for. See wt.h for what the
 * functions do. */
#include <stdint.h>

#if !defined(__AVR__) || defined(__AVR_XMEGA__)

uint8_t wt_check(const uint8_t *key, uint8_t *text, uint16_t n);
void wt_tag(const uint8_t *key, uint8_t *text, uint16_t n);

static uint64_t turn(uint64_t x, uint8_t bits) { return x << bits | x >> (64 - bits); }

static void rounds(uint64_t v[4], uint8_t n) {
	while (n--) {
		v[0] += v[1];
		v[1] = turn(v[1], 13) ^ v[0];
		v[0] = turn(v[0], 32);
		v[2] += v[3];
		v[3] = turn(v[3], 16) ^ v[2];
		v[0] += v[3];
		v[3] = turn(v[3], 21) ^ v[0];
		v[2] += v[1];
		v[1] = turn(v[1], 17) ^ v[2];
		v[2] = turn(v[2], 32);
	}
}

/* word reads n bytes, at most 8, as a little-endian number. */
static uint64_t word(const uint8_t *p, uint8_t n) {
	uint64_t x = 0;
	while (n) x = x << 8 | p[--n];
	return x;
}

uint8_t wt_check(const uint8_t *key, uint8_t *text, uint16_t n) {
	uint64_t k0 = word(key, 8), k1 = word(key + 8, 8), m;
	uint64_t v[4];
	uint16_t left = n;
	uint8_t i, wrong = 0;
	v[0] = k0 ^ 0x736f6d6570736575u;
	v[1] = k1 ^ 0x646f72616e646f6du;
	v[2] = k0 ^ 0x6c7967656e657261u;
	v[3] = k1 ^ 0x7465646279746573u;
	for (;;) {
		m = left < 8 ? word(text, (uint8_t)left) | (uint64_t)n << 56 : word(text, 8);
		v[3] ^= m;
		rounds(v, 2);
		v[0] ^= m;
		if (left < 8) break;
		text += 8;
		left -= 8;
	}
	v[2] ^= 0xff;
	rounds(v, 4);
	m = v[0] ^ v[1] ^ v[2] ^ v[3];
	for (text += left, i = 0; i < 8; i++, m >>= 8) wrong |= *text++ ^= (uint8_t)m;
	return wrong;
}

void wt_tag(const uint8_t *key, uint8_t *text, uint16_t n) {
	uint8_t i;
	for (i = 0; i < 8; i++) text[n + i] = 0;
	wt_check(key, text, n);
}

#endif
