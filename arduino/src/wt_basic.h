/* A Watchtower device with basic frames, in C: the smallest, for your own network only.
 * Nobody's key proves who speaks, and messages are sent once, either way.
 *
 * A program includes wt_basic.h where it uses the functions, and wt_basic_core.h in one
 * file. It gives wt_receive, wt_transmit and wt_clock as in wt.h, and the two below.
 */
#ifndef WT_BASIC_H
#define WT_BASIC_H

#include <stdint.h>
#ifdef __AVR__
#include <avr/pgmspace.h>
#else
#ifndef PROGMEM
#define PROGMEM
#endif
#ifndef pgm_read_byte
#define pgm_read_byte(p) (*(const uint8_t *)(p))
#endif
#endif

/* Bytes of the largest datagram, either way: 64 to 240. */
#ifndef WT_BUFFER
#define WT_BUFFER 92
#endif

/* The most bytes of data in a message that is sent or heard. */
#define WT_ROOM (WT_BUFFER - 18)

#ifndef WT_CODES
#define WT_CODES
enum { WT_OK = 0, WT_BAD = 5, WT_BUSY = 14, WT_LOST = 15 };
#endif

/* A message. Its data is good until wt_message returns, and until a message is sent. */
typedef struct {
	uint8_t op;
	uint32_t sender, channel;
	uint8_t targeted; /* 1: sent to this device, 0: to all on the channel */
	uint8_t hint;     /* 0 nothing known, 1 text, 2 JSON */
	uint32_t n;       /* bytes of data, as the gateway says */
	uint8_t data[1];
} __attribute__((packed)) wt_message_t;

#ifndef WT_API
#define WT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What the program gives. None of them may call wt_loop. */
WT_API uint8_t wt_receive(uint8_t *to);
WT_API void wt_transmit(const uint8_t *frame, uint8_t n);
WT_API uint16_t wt_clock(void);
/* wt_done is told what became of a request: 'J' join, 'Q' leave, 'P' keep-alive (which it
 * makes itself); 'K', WT_OK: it has a new id, and channels have to be joined; 'K', WT_BAD:
 * the key is wrong, and it goes on trying; 'M', WT_BAD: the gateway refused the request
 * before; 'K', WT_LOST: the gateway is silent. */
WT_API void wt_done(uint8_t op, uint8_t code);
/* wt_message is told a message with n bytes of data. */
WT_API void wt_message(const wt_message_t *m, uint8_t n);

/* What the program calls, as in wt.h. A message is sent at once; wt_broadcast and wt_send
 * return 0, WT_BAD if it is too long, or WT_BUSY if the device has no id yet. */
WT_API void wt_begin(void);
WT_API void wt_loop(void);
WT_API uint8_t wt_request(uint32_t channel, uint8_t op);
static inline uint8_t wt_join(uint32_t channel) { return wt_request(channel, 'J'); }
static inline uint8_t wt_leave(uint32_t channel) { return wt_request(channel, 'Q'); }
WT_API uint8_t wt_send(uint32_t channel, uint32_t to, const void *data, uint8_t n); /* to 0: all */
static inline uint8_t wt_broadcast(uint32_t channel, const void *data, uint8_t n) { return wt_send(channel, 0, data, n); }

/* The gateway's key for basic frames, once in the program: WT_KEY("secret"). It is in
 * flash, and has at most WT_BUFFER - 2 bytes. */
#ifndef WT_NAMED
struct wt_key {
	uint8_t n;
	char key[WT_BUFFER - 1];
};
#define WT_KEY(KEY) \
	extern const struct wt_key wt_key PROGMEM; \
	const struct wt_key wt_key PROGMEM = {sizeof(KEY) - 1, KEY}
extern const struct wt_key wt_key PROGMEM;
#endif

#ifdef __cplusplus
}
#endif
#endif
