/* The bodies of the functions that wt.h declares. Include it in one file of a program.
 *
 * It is written for processors of 8 bits, where each byte of code is counted. Bytes inside
 * the state are named by their places, which fit in a byte: a call with them is shorter
 * than one with pointers. An input of the hash and its result lie where they are anyway.
 */
#ifndef WT_CORE_H
#define WT_CORE_H

#include <stddef.h>
#include "wt.h"

#define WT_UNITS(ms) ((ms) / 250) /* of the clock, a little more than ms */
#define WT_TRIES (WT_KEEPALIVE < 560 ? WT_KEEPALIVE * 7 / 16 + 4 : 250) /* 3.5 keep-alives */
#define WT_REGISTER_TRIES 6 /* with one cookie */
#define WT_SCRATCH (WT_HIDDEN ? 11 : 0) /* behind a frame, for the mask */
#define WT_INLINE_NO __attribute__((noinline))

/* A frame up to its body: the layout of all session frames. */
typedef struct {
	uint8_t op, flags, n, n_high; /* n: bytes of body */
	uint32_t id, number;
	uint8_t body[WT_BUFFER - 12 + WT_SCRATCH];
} __attribute__((packed)) wt_frame;

static struct wt_state {
	uint8_t op;          /* of the request under way, or the last one */
#if !WT_SENSOR
	uint8_t flags; /* its flags */
#endif
	uint8_t head_n;      /* bytes of head */
	wt_size data_n;      /* bytes of data */
	const uint8_t *data; /* what follows the head */
	uint8_t left;        /* sendings until the session is given up; 0: no request */
	uint8_t gap;         /* units of the clock until the next sending */
	uint8_t asked;       /* when a session was last asked for */
	uint16_t sent;       /* when the request was last sent */

	/* From ahead to id is the input of a session key, and behind it room for the hash. */
	uint8_t ahead;    /* numbers used since the request began */
	uint8_t head[16]; /* its body before the data; of an r cnonce8 cookie8 */
	uint32_t id;      /* the session's */
	uint32_t number;  /* the request's */
	uint8_t tag[8];   /* with which it was last sent */
#if !WT_SENSOR
	uint32_t heard; /* number of the last message */
#endif
	wt_frame frame;  /* the buffer */
	uint8_t key[16]; /* the session's; while there is none the device's */
} __attribute__((packed)) wt_self;

#ifdef __AVR__
/* Through a pointer each access is one instruction shorter; the compiler must not see
 * where it points. */
#define WT_SELF struct wt_state *w = &wt_self; __asm__("" : "+b"(w))
#define WT_COUNTS(n) __asm__("" : "+r"(n)) /* a loop counts, and does not compare pointers */
#else
#define WT_SELF struct wt_state *w = &wt_self
#define WT_COUNTS(n) (void)0
#endif
#if WT_SENSOR
#define WT_FLAGS 1
#else
#define WT_FLAGS w->flags
#endif
#if defined(__AVR__) || WT_BUFFER <= 128
typedef uint8_t wt_place;
#else
typedef uint16_t wt_place;
#endif
/* Compilers tell here if WT_BUFFER is out of range. */
typedef char wt_buffer_is_too_small[WT_BUFFER >= 64 ? 1 : -1];
typedef char wt_buffer_is_too_large[WT_BUFFER <= 1200 && sizeof(wt_self) <= ((wt_place)-1) ? 1 : -1];
typedef char wt_keepalive_is_out_of_range[WT_KEEPALIVE >= 5 && WT_KEEPALIVE <= 3600 ? 1 : -1];
#define WT_AT(field) ((wt_place)offsetof(struct wt_state, field))
#define WT_NEW_KEY (WT_AT(frame) + 40) /* behind the a that answers an r */

/* The frame's op and its bytes of body, read from memory each time: they need no
 * register. */
#define WT_OP (*(volatile uint8_t *)&w->frame.op)
#if WT_WIDE
#define WT_N (w->frame.n | (wt_size)(w->frame.n_high << 8))
#else
#define WT_N (*(volatile uint8_t *)&w->frame.n)
#endif

/* wt_copy copies n bytes, 1 or more, between two places. */
static WT_INLINE_NO void wt_copy(wt_place to, wt_place from, uint8_t n) {
	uint8_t *t = (uint8_t *)&wt_self + to, *f = (uint8_t *)&wt_self + from;
	do {
		*t++ = *f++;
		WT_COUNTS(n);
	} while (--n);
}

/* wt_differ returns 0 if n bytes, 1 or more, are the same in two places. */
static WT_INLINE_NO uint8_t wt_differ(wt_place a, wt_place b, uint8_t n) {
	uint8_t *p = (uint8_t *)&wt_self + a, *q = (uint8_t *)&wt_self + b, d = 0;
	do {
		d |= *p++ ^ *q++;
		WT_COUNTS(n);
	} while (--n);
	return d;
}

/* wt_flash copies n bytes, 1 or more, from flash to a place. */
static WT_INLINE_NO void wt_flash(wt_place to, const void *from, uint8_t n) {
	uint8_t *t = (uint8_t *)&wt_self + to;
	const uint8_t *f = (const uint8_t *)from;
	do {
		*t++ = pgm_read_byte(f++);
		WT_COUNTS(n);
	} while (--n);
}

#ifdef WT_NAMED
static const uint8_t wt_options[] PROGMEM = {WT_OPTION_BYTES};
#define WT_KEY_AT WT_DEVICE_KEY
#define WT_NAME() w->head_n = 24, w->data_n = WT_DEVICE_NAME_N, w->data = (const uint8_t *)WT_DEVICE_NAME
#define WT_PUT_NAME() wt_flash(WT_AT(frame.body), wt_options, sizeof wt_options), w->frame.body[23] = (uint8_t)w->data_n
#else
#define WT_KEY_AT wt_device.key
#define WT_NAME() w->head_n = pgm_read_byte(&wt_device.n) + 24, w->data_n = 0
#define WT_PUT_NAME() wt_flash(WT_AT(frame.body), &wt_device, 24 + WT_NAME_MAX) /* its key is overwritten */
#endif

#if WT_HIDDEN
/* wt_mask hides the body of the frame in the buffer, or shows it again. Each 8 bytes of it
 * are XORed with the hash of tag8 count2 number1, which is made behind the frame. */
static WT_INLINE_NO void wt_mask(void) {
	WT_SELF;
	wt_size n = WT_N;
	uint8_t *p = w->frame.body, *in = p + n;
	in[8] = 0;
	in[9] = 0;
	in[10] = ((uint8_t *)&w->frame)[8];
	while (n) {
		uint8_t *hash = in + 11, i = 8;
		wt_tag(wt_self.key, in, 11);
		in[8]++;
		do *p++ ^= *hash++;
		while (--n && --i);
	}
}
#endif

/* wt_seal tags the frame in the buffer, and sends it. */
static WT_INLINE_NO void wt_seal(void) {
	WT_SELF;
	wt_size n = WT_N + 12;
	wt_tag(wt_self.key, (uint8_t *)&wt_self.frame, n);
#if WT_HIDDEN
	if (WT_OP != 'r') wt_mask();
#endif
	wt_transmit((uint8_t *)&wt_self.frame, n + 8);
}

/* wt_frame_begin makes the header of a frame with the request's number and n bytes of
 * body. */
static WT_INLINE_NO void wt_frame_begin(uint8_t op, wt_size n) {
	WT_SELF;
	w->frame.op = op;
	w->frame.flags = WT_FLAGS;
	w->frame.n = (uint8_t)n;
	w->frame.n_high = WT_WIDE ? (uint8_t)(n >> 8) : 0;
	wt_copy(WT_AT(frame.id), WT_AT(id), 8);
}

/* wt_add adds n to the number at a place. */
static WT_INLINE_NO void wt_add(wt_place at, uint8_t n) {
	uint8_t *p = (uint8_t *)&wt_self + at;
	uint32_t number;
	__builtin_memcpy(&number, p, 4);
	number += n;
	__builtin_memcpy(p, &number, 4);
}

/* wt_begin begins a registration and ends what there was. A cnonce serves until a cookie
 * came for it: an outage does not wear out an EEPROM. */
WT_API WT_INLINE_NO void wt_begin(void) {
	WT_SELF;
	if (w->op != 'r') {
		if (w->left) wt_done(w->op, WT_LOST); /* left is not 0: it can begin none */
		w->head[8] = 1;
	}
	WT_NAME();
	wt_flash(WT_AT(key), WT_KEY_AT, 16);
	if (w->head[8]) wt_nonce(wt_self.head); /* which may use key, name and buffer */
	w->op = 'r';
	w->head[8] = 0; /* and all up to the frame */
	wt_copy(WT_AT(head) + 9, WT_AT(head) + 8, (uint8_t)(WT_AT(frame) - WT_AT(head) - 9));
	w->gap = 0;
#if !WT_SENSOR
	w->flags = 1;
#endif
	w->left = WT_REGISTER_TRIES;
	w->asked = (uint8_t)wt_clock();
}

/* wt_half makes half i of a session key, and puts it to a place. */
static WT_INLINE_NO void wt_half(uint8_t i, wt_place to) {
	wt_self.ahead = i;
	wt_tag(wt_self.key, &wt_self.ahead, 21);
	wt_copy(to, WT_AT(number), 8);
}

/* wt_unknown takes an e without a body: the gateway does not know the session. Nobody's
 * key vouches for that, but it repeats the tag of the request. */
static WT_INLINE_NO void wt_unknown(void) {
	WT_SELF;
	if (!w->left || wt_differ(WT_AT(frame.id), WT_AT(id), 16)) return;
	if ((uint8_t)((uint8_t)wt_clock() - w->asked) < WT_UNITS(10000u)) return;
#if !WT_SENSOR
	if (w->op == 'd' && !(w->head[0] | w->head[1])) { /* so it has ended */
		w->left = 0;
		wt_done('d', WT_OK);
		return;
	}
#endif
	wt_begin();
}

/* wt_take takes the frame in the buffer. */
static WT_INLINE_NO void wt_take(void) {
	WT_SELF;
	wt_place key = WT_AT(key);
	if (WT_OP == 'e' && !WT_N) {
		wt_unknown();
		return;
	}
	if (w->op == 'r') {
		if (WT_OP == 'a') {
			wt_copy(WT_AT(id), WT_AT(frame.id), 4);
			wt_half(WT_HIDDEN ? 0x12 : 2, WT_NEW_KEY + 8);
			wt_half(WT_HIDDEN ? 0x11 : 1, WT_NEW_KEY);
			w->number = 0;
			w->ahead = 0;
			key = WT_NEW_KEY;
		}
	}
#if WT_HIDDEN
	else
		wt_mask();
#endif
	if (wt_check((uint8_t *)&wt_self + key, (uint8_t *)&wt_self.frame, WT_N + 12)) return;
	if (WT_OP == 'c') { /* only while it registers: only then it has the device's key */
		if (wt_differ(WT_AT(frame.body), WT_AT(head), 8)) return; /* it is an earlier one, replayed */
		wt_copy(WT_AT(head) + 8, WT_AT(frame.body) + 8, 8);
		w->gap = 0;
		return;
	}
	if ((WT_OP & 0xfb) == 'a') { /* or e; a b and a d are its own, reflected */
		uint8_t op = w->op;
		if (!w->left || w->frame.body[0] != op || wt_differ(WT_AT(frame.number), WT_AT(number), 4)) return;
		w->left = 0;
		w->data_n = 0;
		if (op == 'r') {
			w->left = WT_REGISTER_TRIES; /* refused: that is an answer */
			if (WT_OP == 'a') {
				w->left = 0;
				w->op = 'a'; /* registered, and no request */
				wt_copy(WT_AT(key), WT_NEW_KEY, 16);
			}
		}
		wt_done(op, w->frame.flags >> 4);
		return;
	}
#if !WT_SENSOR
	if (WT_OP == 'm') {
		if (WT_N < 10) return; /* without a secret key tags prove nothing */
		if (w->frame.number > w->heard) {
			if (!wt_message((wt_message_t *)&wt_self.frame, WT_N - 10)) return;
			wt_copy(WT_AT(heard), WT_AT(frame.number), 4);
		}
		w->frame.op = 'k';
		w->frame.flags = 0;
		w->frame.n = 0;
#if WT_WIDE
		w->frame.n_high = 0;
#endif
		wt_seal();
	} else
#endif
	if (WT_OP == 'q' && w->ahead < 7) { /* the address is new: prove it by the challenge, which lies in its
		place. After more numbers the gateway may have forgotten the request's answer. */
		wt_frame_begin('p', 8);
		wt_add(WT_AT(frame.number), ++w->ahead);
		wt_seal();
		w->gap = 0;
	} else
		return;
#if !WT_SENSOR
	if (w->left > 1) w->left = WT_TRIES; /* its session lives */
#endif
}

/* wt_send sends the request under way. */
static WT_INLINE_NO void wt_send(void) {
	WT_SELF;
	wt_place at = WT_AT(frame.body);
	const uint8_t *d;
	uint8_t *to;
	wt_size i;
	wt_frame_begin(w->op, w->head_n + w->data_n);
	if (w->op == 'r') {
		WT_PUT_NAME();
		at += 7;
	}
	wt_copy(at, WT_AT(head), 16);
	d = w->data;
	to = w->frame.body + w->head_n;
	for (i = w->data_n; i; i--) *to++ = *d++;
	wt_seal();
	wt_copy(WT_AT(tag), WT_AT(frame.body) + WT_N, 8);
#if !WT_SENSOR
	if (!(w->flags & 1)) w->left = w->data_n = 0;
#endif
}

WT_API void wt_loop(void) {
	WT_SELF;
	wt_size n = wt_receive((uint8_t *)&wt_self.frame);
	uint16_t now, since;
	uint8_t gap, most;
	if (n >= 20 && WT_N == (wt_size)(n - 20)) wt_take();
	now = wt_clock();
	since = now - w->sent;
	if (since < (w->left ? w->gap : (uint16_t)(WT_KEEPALIVE * 1000ul / 512))) return;
	if (!w->left) {
		if (WT_SENSOR || w->op != 'd') wt_ping();
		return;
	}
	if (w->left == 1) {
		wt_begin();
		return;
	}
	w->left--;
	w->sent = now;
	gap = w->gap * 2;
	if (!gap) gap = WT_UNITS(1000);
	most = w->ahead ? WT_UNITS(2000) : WT_UNITS(8000);
	if (gap > most) gap = most;
	w->gap = gap;
	wt_send();
}

WT_API uint8_t wt_request(uint32_t what, uint8_t op, uint8_t n) {
	WT_SELF;
	if (w->left || !w->op) return WT_BUSY;
	w->head[0] = 1; /* channel, before the channel of a b, whose n is odd */
	__builtin_memcpy(w->head + (n & 1), &what, 4);
	w->op = op;
	w->head_n = n;
	wt_add(WT_AT(number), w->ahead + 1);
	w->ahead = 0;
	w->gap = 0;
#if !WT_SENSOR
	w->flags = 1;
#endif
	w->left = WT_TRIES;
	return WT_OK;
}

WT_API uint8_t wt_broadcast(uint32_t channel, const void *data, wt_size n) {
	WT_SELF;
	if (n > WT_ROOM) return WT_BAD;
	if (w->left) return WT_BUSY;
	w->data = (const uint8_t *)data;
	w->data_n = n;
	return wt_request(channel, 'b', 5);
}

#if !WT_SENSOR
WT_API void wt_flags(uint8_t flags) { wt_self.flags = flags; }

WT_API void wt_to(uint32_t receiver) {
	WT_SELF;
	w->op = 's';
	w->head_n = 10;
	w->head[5] = 1; /* receiver */
	__builtin_memcpy(w->head + 6, &receiver, 4);
}
#endif


#endif
