/* The bodies of the functions that wt_basic.h declares. Include it in one file of a
 * program. */
#ifndef WT_BASIC_CORE_H
#define WT_BASIC_CORE_H

#include <stddef.h>
#include "wt_basic.h"

#define WT_UNITS(ms) ((ms) / 250) /* of the clock, a little more than ms */
#define WT_TRIES 6
#define WT_INLINE_NO __attribute__((noinline))

static struct wt_state {
	uint8_t left;  /* sendings until the id is given up */
	uint8_t gap;   /* units of the clock until the next sending */
	uint16_t sent; /* when the request was last sent */

	/* A request as it is sent. */
	uint8_t op;       /* 0: no request */
	uint32_t id;      /* 0: there is none */
	uint32_t channel;

	uint8_t frame[WT_BUFFER];
} __attribute__((packed)) wt_self;

#ifdef __AVR__
#define WT_SELF struct wt_state *w = &wt_self; __asm__("" : "+b"(w))
#else
#define WT_SELF struct wt_state *w = &wt_self
#endif
#ifndef WT_NAMED
#define WT_KEY_N() pgm_read_byte(&wt_key.n)
#define WT_KEY_AT(i) pgm_read_byte(wt_key.key + (i))
#endif
#define WT_AT(field) ((uint8_t)offsetof(struct wt_state, field))

static WT_INLINE_NO uint8_t *wt_put(uint8_t *to, const void *from, uint8_t n) {
	const uint8_t *f = (const uint8_t *)from;
	for (; n; n--) *to++ = *f++;
	return to;
}

/* wt_answers returns 0 if the answer repeats the 4 bytes at a place of the state. */
static WT_INLINE_NO uint8_t wt_answers(uint8_t place) {
	uint8_t *p = (uint8_t *)&wt_self + place, *a = wt_self.frame + 1, d = 0, n = 4;
	do d |= *p++ ^ *a++;
	while (--n);
	return d;
}

static WT_INLINE_NO void wt_ask(uint8_t op) {
	WT_SELF;
	w->op = op;
	w->gap = 0;
	w->left = WT_TRIES;
}

WT_API void wt_begin(void) { wt_ask('K'); }

/* wt_take takes a frame of n bytes. */
static WT_INLINE_NO void wt_take(uint8_t n) {
	WT_SELF;
	uint8_t op = w->op, first = w->frame[0];
	if (n == 5 && first == 'A') {
		uint8_t other;
		if (!op) return;
		other = wt_answers(op == 'J' || op == 'Q' ? WT_AT(channel) : WT_AT(id));
		w->op = 0;
		if (op == 'K') {
			wt_put((uint8_t *)&wt_self.id, wt_self.frame + 1, 4);
			if (!other) { /* so it was only the last request that failed */
				wt_done('M', 5);
				return;
			}
		} else if (other) {
			w->op = op;
			return;
		}
		wt_done(op, 0);
	} else if (n == 1 && first == 'E') {
		if (op == 'K') wt_done(op, WT_BAD);
		else wt_ask('K');
	} else if (n >= 15 && first == 'M')
		wt_message((wt_message_t *)wt_self.frame, n - 15);
}

WT_API void wt_loop(void) {
	WT_SELF;
	uint16_t now, since;
	uint8_t n = wt_receive(wt_self.frame);
	if (n) wt_take(n);
	now = wt_clock();
	since = now - w->sent;
	if (since < (w->op ? w->gap : WT_UNITS(25000u))) return;
	if (!w->op) wt_ask('P');
	w->sent = now;
	if (!w->left) {
		wt_done('K', WT_LOST);
		wt_ask('K');
	}
	w->left--;
	w->gap *= 2;
	if (!w->gap) w->gap = WT_UNITS(1000);
	if (w->gap > WT_UNITS(8000)) w->gap = WT_UNITS(8000);
	wt_put(wt_self.frame, &wt_self.op, 9);
	n = 9;
	if (w->op == 'P') n = 5;
	if (w->op == 'K') {
		uint8_t i;
		n = WT_KEY_N();
		w->frame[1] = n;
		for (i = 0; i < n; i++) w->frame[2 + i] = WT_KEY_AT(i);
		n += 2;
	}
	wt_transmit(wt_self.frame, n);
}

WT_API uint8_t wt_request(uint32_t channel, uint8_t op) {
	WT_SELF;
	if (w->op) return WT_BUSY;
	w->channel = channel;
	wt_ask(op);
	return WT_OK;
}

WT_API uint8_t wt_send(uint32_t channel, uint32_t to, const void *data, uint8_t n) {
	WT_SELF;
	uint8_t *p;
	if (n > WT_ROOM) return WT_BAD;
	if (w->op == 'K' || !w->id) return WT_BUSY;
	w->frame[0] = 'M';
	p = wt_put(wt_put(wt_self.frame + 1, &wt_self.id, 4), &channel, 4);
	if (to) {
		w->frame[0] = 'S';
		*p++ = 1;
		p = wt_put(p, &to, 4);
	}
	*p++ = n;
	*p++ = 0;
	*p++ = 0;
	*p++ = 0;
	p = wt_put(p, data, n);
	wt_transmit(wt_self.frame, (uint8_t)(p - wt_self.frame));
	return WT_OK;
}

#endif
