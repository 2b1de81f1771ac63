/* A device whose network, clock and program are its standard input and output. It compiles
 * as C and as C++.
 *
 * A command is type1 n2 and n bytes, an event too. The events of a command are followed by
 * one of type '.'.
 *
 *   commands  D datagram        comes, in the next call of wt_loop
 *             L clock2          wt_loop, at a time
 *             B                 wt_begin
 *             R op1 flags1 channel4 to4 data   a request
 *             H yes1            whether messages are taken
 *   events    F datagram        is sent
 *             N nonce8          a nonce was taken
 *             O op1 code1       wt_done
 *             M sender4 channel4 targeted1 hint1 flags1 data   wt_message
 *             X code1           what a request returned
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef BASIC
#include "wt_basic_core.h"
WT_KEY("correct horse battery staple");
typedef uint8_t wt_size;
#else
#include "wt_core.h"
WT_DEVICE("lamp", 0x31, 0x91, 0x55, 0x10, 0x1a, 0x72, 0x60, 0x1f, 0x81, 0x64, 0xb4, 0xcf, 0xe9, 0x3c, 0x20, 0xa2);
#endif

static uint8_t datagram[65536], data[65536];
static unsigned waiting;
static uint16_t now;
static uint8_t taken = 1;

static void tell(char type, const void *a, unsigned n, const void *b, unsigned m) {
	putchar(type);
	putchar((n + m) & 255);
	putchar((n + m) >> 8);
	if (n) fwrite(a, 1, n, stdout);
	if (m) fwrite(b, 1, m, stdout);
}

wt_size wt_receive(uint8_t *to) {
	unsigned n = waiting;
	waiting = 0;
	if (n > WT_BUFFER) return 0;
	memcpy(to, datagram, n);
	return (wt_size)n;
}
void wt_transmit(const uint8_t *frame, wt_size n) { tell('F', frame, n, 0, 0); }
uint16_t wt_clock(void) { return now; }
#ifndef BASIC
void wt_nonce(uint8_t *to) {
	static uint32_t nonces;
	uint32_t own = (uint32_t)(WT_BUFFER + 1000 * WT_HIDDEN);
	nonces++;
	memcpy(to, &nonces, 4);
	memcpy(to + 4, &own, 4);
	tell('N', to, 8, 0, 0);
}
#endif
void wt_done(uint8_t op, uint8_t code) {
	uint8_t e[2];
	e[0] = op;
	e[1] = code;
	tell('O', e, 2, 0, 0);
}
#ifdef BASIC
void wt_message(const wt_message_t *m, uint8_t n) {
	uint8_t e[11] = {0};
	memcpy(e, &m->sender, 8);
	e[8] = m->targeted;
	e[9] = m->hint;
	tell('M', e, 11, m->data, n);
}
static uint8_t request(const uint8_t *p, unsigned n) {
	uint32_t channel, to;
	memcpy(&channel, p + 2, 4);
	memcpy(&to, p + 6, 4);
	memcpy(data, p + 10, n - 10);
	if (p[0] == 'J') return wt_join(channel);
	if (p[0] == 'Q') return wt_leave(channel);
	return wt_send(channel, to, data, (uint8_t)(n - 10));
}
#else
#if !WT_SENSOR
uint8_t wt_message(const wt_message_t *m, wt_size n) {
	uint8_t e[11];
	if (!taken) return 0;
	memcpy(e, &m->sender, 8);
	e[8] = m->targeted;
	e[9] = m->hint;
	e[10] = m->flags;
	tell('M', e, 11, m->data, n);
	return 1;
}
#endif

static uint8_t request(const uint8_t *p, unsigned n) {
	uint8_t op = p[0], flags = p[1], code;
	uint32_t channel, to;
	if (n < 10) abort();
	memcpy(&channel, p + 2, 4);
	memcpy(&to, p + 6, 4);
	n -= 10;
	switch (op) {
	case 'j': return wt_join(channel);
	case 'x': return wt_leave(channel);
	case 'p': return wt_ping();
	case 'd': return wt_sleep((uint16_t)channel);
	}
	memcpy(data, p + 10, n);
	code = n > 255 && !WT_WIDE ? (uint8_t)WT_BAD : wt_broadcast(channel, data, (wt_size)n);
#if !WT_SENSOR
	if (!code && op == 's') wt_to(to);
	if (!code) wt_flags(flags);
#else
	(void)flags;
#endif
	return code;
}

#endif

int main(void) {
	static uint8_t in[65536];
	uint8_t head[3], code;
	while (fread(head, 1, 3, stdin) == 3) {
		unsigned n = head[1] | (unsigned)head[2] << 8;
		if (fread(in, 1, n, stdin) != n) return 1;
		switch (head[0]) {
		case 'D':
			memcpy(datagram, in, n);
			waiting = n;
			break;
		case 'L':
			memcpy(&now, in, 2);
			wt_loop();
			break;
		case 'B': wt_begin(); break;
		case 'H': taken = in[0]; break;
		case 'R':
			code = request(in, n);
			tell('X', &code, 1, 0, 0);
			break;
		default: return 1;
		}
		tell('.', 0, 0, 0, 0);
		fflush(stdout);
	}
	return 0;
}
