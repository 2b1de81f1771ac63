/* The core between a gateway that answers now and then, and somebody who has recorded all frames and
 * sends them again: to where they came from, changed, cut, many times, in later sessions.
 *
 *   attack STEPS SEED
 *
 * It ends with abort if the core tells what nobody said: an answer that the gateway did not give, a
 * message that was not sent or was told before, a session without a gateway. So it does if the core
 * uses one number for two requests. All is random, by the seed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "wt_core.h"

#define KEY 0x31, 0x91, 0x55, 0x10, 0x1a, 0x72, 0x60, 0x1f, 0x81, 0x64, 0xb4, 0xcf, 0xe9, 0x3c, 0x20, 0xa2
WT_DEVICE("lamp", KEY);
static const uint8_t device_key[16] = {KEY}, cookie_key[16] = "cookies";

enum { TAPE = 400, NUMBERS = 64 };
typedef struct {
	unsigned n;
	uint8_t b[WT_BUFFER + 40];
} datagram;

static datagram tape[TAPE];   /* what flew */
static unsigned taped;
static datagram last;         /* what the device sent last; n 0: the gateway has taken it */
static datagram sent[NUMBERS]; /* its requests in this session */
static unsigned sent_n;
static datagram in; /* what wt_receive gives */
static uint16_t now;

/* What the gateway knows: its session, and the message that it sent last. */
static int has_session;
static uint8_t session_key[16];
static uint32_t id, message;

/* What it answered to the device's present request. */
static struct {
	uint8_t op, code;
	uint32_t number;
} answered;
static uint32_t told; /* the message that the device was told last */

static uint64_t state = 88172645463325252u;
static unsigned dice(unsigned n) {
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (unsigned)((state >> 11) % n);
}

static void wrong(const char *what) {
	fprintf(stderr, "%s\n", what);
	abort();
}

static uint32_t number_of(const datagram *d) {
	uint32_t n;
	memcpy(&n, d->b + 8, 4);
	return n;
}

static void record(const datagram *d) { tape[taped < TAPE ? taped++ : dice(TAPE)] = *d; }

static void deliver(const datagram *d) {
	in = *d;
	wt_loop();
	in.n = 0;
}

/* say records a frame of the gateway's, and delivers it but once in so many times. */
static void say(uint8_t op, uint8_t code, uint32_t to, uint32_t number, const uint8_t *body, unsigned n, const uint8_t *key, unsigned loss) {
	datagram d;
	d.n = n + 20;
	d.b[0] = op;
	d.b[1] = op == 'm' ? 1 : (uint8_t)(code << 4);
	d.b[2] = (uint8_t)n;
	d.b[3] = (uint8_t)(n >> 8);
	memcpy(d.b + 4, &to, 4);
	memcpy(d.b + 8, &number, 4);
	memcpy(d.b + 12, body, n);
	wt_tag(key, d.b, (uint16_t)(n + 12));
#if WT_HIDDEN
	if (number) { /* not the answer to an r */
		uint8_t mask[19];
		unsigned i;
		for (i = 0; i < n; i++) {
			if (i % 8 == 0) {
				memcpy(mask, d.b + 12 + n, 8);
				mask[8] = (uint8_t)(i / 8);
				mask[9] = 0;
				mask[10] = (uint8_t)number;
				wt_tag(key, mask, 11);
			}
			d.b[12 + i] ^= mask[11 + i % 8];
		}
	}
#endif
	record(&d);
	if (dice(loss)) deliver(&d);
}

wt_size wt_receive(uint8_t *to) {
	unsigned n = in.n > WT_BUFFER ? 0 : in.n;
	memcpy(to, in.b, n);
	in.n = 0;
	return (wt_size)n;
}
uint16_t wt_clock(void) { return now; }
void wt_nonce(uint8_t *to) {
	static uint64_t nonces;
	nonces++;
	memcpy(to, &nonces, 8);
}

void wt_transmit(const uint8_t *frame, wt_size n) {
	unsigned i;
	if (n < 20 || n > WT_BUFFER) wrong("a datagram of a wrong size");
	last.n = n;
	memcpy(last.b, frame, n);
	record(&last);
	if (*frame == 'r' || *frame == 'k') return;
	for (i = 0; i < NUMBERS && i < sent_n; i++)
		if (number_of(sent + i) == number_of(&last) && (sent[i].n != n || memcmp(sent[i].b, frame, n))) wrong("one number for two requests");
	sent[sent_n++ % NUMBERS] = last;
}

void wt_done(uint8_t op, uint8_t code) {
	if (op == 'r') {
		if (code) return;
		if (!has_session || memcmp(wt_self.key, session_key, 16)) wrong("a session with nobody");
		sent_n = 0;
		told = 0;
		answered.op = 0;
	} else if (code != WT_LOST && (answered.op != op || answered.code != code || answered.number != wt_self.number)) {
		if (op != 'd' || code || wt_self.head[0] || wt_self.head[1]) wrong("an answer of nobody's"); /* a session that ends may have ended */
	}
}

#if !WT_SENSOR
uint8_t wt_message(const wt_message_t *m, wt_size n) {
	if (n > WT_ROOM || m->number <= told || m->number > message) wrong("a message that was not sent, or was told before");
	if (!dice(8)) return 0;
	told = m->number;
	return 1;
}
#endif

/* register_device answers an r: with a cookie, now and then a refusal, or a session. */
static void register_device(const datagram *r) {
	static uint8_t before[8];
	const uint8_t *nonce = r->b + 19;
	uint8_t b[29], want[16], half;
	memcpy(want, nonce, 8);
	wt_tag(cookie_key, want, 8);
	if (memcmp(want + 8, nonce + 8, 8)) {
		say('c', 0, 0, 0, want, 16, device_key, 8);
		return;
	}
	if (!dice(20)) {
		say('e', WT_FULL, 0, 0, (const uint8_t *)"r", 1, device_key, 5);
		return;
	}
	if (!has_session || memcmp(before, nonce, 8)) {
		id = 1 + dice(1000000);
		message = 0;
	}
	memcpy(before, nonce, 8);
	has_session = 1;
	for (half = 0; half < 2; half++) {
		b[0] = (uint8_t)((WT_HIDDEN ? 0x11 : 1) + half);
		memcpy(b + 1, nonce, 16);
		memcpy(b + 17, &id, 4);
		wt_tag(device_key, b, 21);
		memcpy(session_key + 8 * half, b + 21, 8);
	}
	memset(b, 0, 13);
	b[0] = 'r';
	memcpy(b + 1, nonce, 8);
	say('a', 0, id, 0, b, 13, session_key, 6);
}

/* gateway takes what the device sent last. */
static void gateway(void) {
	datagram d = last;
	uint32_t number = number_of(&d);
	uint8_t b[8] = {0}, i;
	if (!d.n) return;
	last.n = 0;
	if (d.b[0] == 'r') {
		register_device(&d);
	} else if (!has_session || memcmp(d.b + 4, &id, 4)) { /* unknown: its tag comes back */
		memmove(d.b + 12, d.b + d.n - 8, 8);
		d.n = 20;
		d.b[0] = 'e';
		d.b[1] = WT_UNKNOWN << 4;
		d.b[2] = d.b[3] = 0;
		record(&d);
		if (dice(4)) deliver(&d);
	} else if (d.b[0] == 'k') {
		return;
	} else if (!dice(12)) {
		for (i = 0; i < 8; i++) b[i] = (uint8_t)dice(256);
		say('q', 0, id, number, b, 8, session_key, 8);
	} else if (dice(5)) {
		uint8_t code = number % 5 ? 0 : WT_NOT_JOINED; /* the same at each repetition */
		if (wt_self.left && number == wt_self.number && d.b[0] == wt_self.op) {
			answered.op = d.b[0];
			answered.code = code;
			answered.number = number;
		}
		b[0] = d.b[0];
		say(code ? 'e' : 'a', code, id, number, b, 1 + dice(3), session_key, 5);
	}
}

static void say_message(void) {
	static uint8_t b[WT_BUFFER];
	if (!has_session) return;
	if (dice(2) || !message) message++;
	say('m', 0, id, message, b, 10 + dice(WT_ROOM + 1), session_key, 5);
}

/* ask makes a request; of the sleeps many have seconds that look like the beginning of an answer. */
static void ask(void) {
	static uint8_t data[WT_BUFFER];
	wt_size n = (wt_size)dice(WT_ROOM - 5);
	uint8_t code;
	switch (dice(5)) {
	case 0: wt_join(dice(1 << 20)); break;
	case 1: wt_leave(dice(1 << 20)); break;
	case 2: wt_ping(); break;
	case 3: wt_sleep((uint16_t)(dice(6) ? 'd' + 256 * dice(250) : 0)); break;
	default:
		code = wt_broadcast(dice(256), data, n);
		(void)code;
#if !WT_SENSOR
		if (!code && dice(2)) wt_to(dice(1000));
		if (!code) wt_flags(1 | 4);
#endif
	}
}

/* attack sends something that was recorded, or nearly so. */
static void attack(void) {
	static const char ops[] = "acemqkrbjdxps";
	datagram d = tape[dice(taped)];
	unsigned i;
	switch (dice(6)) {
	case 0:
		for (i = 1 + dice(3); i--;) d.b[dice(d.n)] ^= (uint8_t)(1 << dice(8));
		if (!dice(4)) d.n = dice(d.n + 1);
		break;
	case 1: d.b[0] = (uint8_t)ops[dice(13)]; break;
	case 2:
		d.n = 20 + dice(WT_BUFFER - 19);
		for (i = 0; i < d.n; i++) d.b[i] = (uint8_t)dice(256);
		d.b[0] = (uint8_t)ops[dice(13)];
		d.b[2] = (uint8_t)(d.n - 20);
		break;
	case 3:
		for (i = dice(20) ? 0 : dice(300); i--;) deliver(&d);
	}
	deliver(&d);
}

int main(int n, char **args) {
	long step, steps;
	int evil = 1;
	if (n != 3) return 2;
	steps = atol(args[1]);
	state ^= (uint64_t)atol(args[2]) * 0x9e3779b97f4a7c15u;
	wt_begin();
	wt_loop();
	for (step = 0; step < steps; step++) {
		if (step % 5000 == 0) evil = dice(3) != 0;
		switch (dice(8)) {
		case 0:
		case 1: now = (uint16_t)(now + dice(12)); wt_loop(); break;
		case 2: ask(); break;
		case 3:
		case 4: gateway(); break;
		case 5: say_message(); break;
		default:
			if (evil) attack();
		}
		if (!dice(4000)) has_session = 0;
		if (!dice(6000)) now = (uint16_t)(now + dice(60000));
	}
	return 0;
}
