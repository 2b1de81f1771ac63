/* A Watchtower device over datagrams: session frames in C, without allocation.
 *
 * A program includes wt.h where it uses the functions, and wt_core.h, which has their
 * bodies, in one file. It gives five functions that the core calls, and calls wt_loop
 * again and again. The core has one request under way at a time, and repeats it until the
 * gateway answers: after 1, 2, 4, 8 and then every 8 seconds. The gateway executes it once.
 *
 * The core keeps a request's parts and builds its frame anew at every sending, so one
 * buffer serves both ways. The data of a request is not copied: it stays where it is until
 * wt_done.
 *
 * Define what differs from the default before the include, alike in all files.
 */
#ifndef WT_H
#define WT_H

#include <stdint.h>

/* WT_SENSOR 1: the device speaks and is answered, and hears no messages. */
#ifndef WT_SENSOR
#define WT_SENSOR 0
#endif

/* WT_HIDDEN 0: who listens can read channels, receivers and data. Else bodies are hidden; an
 * old gateway, which does not know that, never registers such a device. */
#ifndef WT_HIDDEN
#define WT_HIDDEN 1
#endif

/* WT_OWN_KEY 0: the key is the one that all devices share. Else it is that of the name. */
#ifndef WT_OWN_KEY
#define WT_OWN_KEY 1
#endif

/* WT_ECHO 0: the device does not hear its own broadcasts. */
#ifndef WT_ECHO
#define WT_ECHO 1
#endif

/* Bytes of the largest datagram, either way: 64 to 180 on AVR, elsewhere to 1,200. */
#ifndef WT_BUFFER
#define WT_BUFFER (WT_SENSOR ? 80 : 96)
#endif

/* Seconds, 5 to 3,600. The device says something at least twice in that time. The gateway
 * forgets a device that is silent for 3.5 times as long. */
#ifndef WT_KEEPALIVE
#define WT_KEEPALIVE 60
#endif

/* Bytes of the longest name. */
#define WT_NAME_MAX (WT_BUFFER < 76 ? WT_BUFFER - 44 : 32)

/* The most bytes of data in a message that is sent or heard. */
#define WT_ROOM (WT_BUFFER - 30)

/* What became of a request. 1 to 9 are the gateway's codes. */
enum {
	WT_OK = 0,
	WT_UNKNOWN = 1,     /* the session is unknown or has expired */
	WT_NOT_JOINED = 3,  /* the channel is not joined */
	WT_NOT_THERE = 4,   /* the receiver is not on the channel */
	WT_BAD = 5,         /* malformed, or more than WT_ROOM bytes */
	WT_BEHIND = 6,      /* the gateway is overloaded: try later */
	WT_FULL = 7,        /* a limit of the gateway is reached */
	WT_UNSUPPORTED = 8, /* an unknown request, or the name is protected */
	WT_OWN_ONLY = 9,    /* this name has a key of its own */
	WT_BUSY = 14,       /* not begun: another request is under way, or there is no session */
	WT_LOST = 15        /* the session has ended: it was executed once or not at all */
};

/* Lengths need 16 bits. */
#define WT_WIDE (WT_BUFFER > 180)
#if WT_WIDE
typedef uint16_t wt_size;
#else
typedef uint8_t wt_size;
#endif

/* A message. Its data, n bytes, is good until wt_message returns. */
typedef struct {
	uint8_t op;
	uint8_t flags; /* & 2: the gateway cut the data to WT_ROOM bytes */
	uint16_t body;
	uint32_t id, number;
	uint32_t sender, channel;
	uint8_t targeted; /* 1: sent to this device, 0: to all on the channel */
	uint8_t hint;     /* 0 nothing known, 1 text, 2 JSON */
	uint8_t data[1];
} __attribute__((packed)) wt_message_t;

#ifndef WT_API /* "static", if one file has all */
#define WT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What the program gives. None of them may call wt_loop. */

/* wt_receive stores the next datagram that came from the gateway. It returns the
 * datagram's bytes, at most WT_BUFFER, or 0 if there is none. */
WT_API wt_size wt_receive(uint8_t *to);
/* wt_transmit sends a datagram of n bytes to the gateway. */
WT_API void wt_transmit(const uint8_t *frame, wt_size n);
/* wt_clock returns the time in units of 256 ms: millis() >> 8. It wraps. */
WT_API uint16_t wt_clock(void);
/* wt_nonce gives 8 bytes that never repeat among all devices with the same key, also after
 * a loss of power. */
WT_API void wt_nonce(uint8_t *to);
/* wt_done is told once what became of a request: 'j' join, 'x' leave, 'b' broadcast,
 * 's' send, 'p' ping, 'd' sleep, or 'r': a new session began, and channels have to be
 * joined. Code is 0 or why it failed. A refused registration, and only that, goes on, and
 * is told at each attempt. wt_done may begin the next request. */
WT_API void wt_done(uint8_t op, uint8_t code);
#if !WT_SENSOR
/* wt_message is told each message once. It returns 1, or 0: not now; then the message
 * comes again later. */
WT_API uint8_t wt_message(const wt_message_t *m, wt_size n);
#endif

/* What the program calls. */

/* wt_begin registers the device. */
WT_API void wt_begin(void);
/* wt_loop takes a datagram, if one came, and sends what is due. Call it more often than
 * datagrams come. */
WT_API void wt_loop(void);

/* The following return 0 if the request has begun: wt_loop sends it, and wt_done tells the
 * end. Else they return WT_BUSY or WT_BAD, and nothing happens. */

/* wt_broadcast says n bytes to all on a channel. */
WT_API uint8_t wt_broadcast(uint32_t channel, const void *data, wt_size n);
/* wt_request makes the requests below. */
WT_API uint8_t wt_request(uint32_t what, uint8_t op, uint8_t n);
static inline uint8_t wt_join(uint32_t channel) { return wt_request(channel, 'j', 4); }
static inline uint8_t wt_leave(uint32_t channel) { return wt_request(channel, 'x', 4); }
/* The answer to wt_ping comes after all messages that waited. */
static inline uint8_t wt_ping(void) { return wt_request(0, 'p', 0); }
/* wt_sleep makes messages wait at the gateway for a time of 1 to 65,535 seconds, or until
 * the next request. 0 ends the session. */
static inline uint8_t wt_sleep(uint16_t seconds) { return wt_request(seconds, 'd', 2); }

/* The following are for the line after a wt_broadcast that returned 0. */

#if !WT_SENSOR
/* wt_to makes it a message to one member of the channel. */
WT_API void wt_to(uint32_t receiver);
/* wt_flags says what the data is, 4: text, 8: JSON; plus 1: repeat until it is answered.
 * Without 1 it is sent once, and nothing is told. */
WT_API void wt_flags(uint8_t flags);
#endif

/* From wt_sip.S or wt_sip.c. wt_tag writes the tag of n bytes behind them. wt_check puts
 * there what the tag differs by, and returns 0 if that is nothing. */
#if defined(__AVR__) && !defined(__AVR_XMEGA__)
void wt_tag(const uint8_t *key, uint8_t *text, uint8_t n);
uint8_t wt_check(const uint8_t *key, uint8_t *text, uint8_t n);
#else
void wt_tag(const uint8_t *key, uint8_t *text, uint16_t n);
uint8_t wt_check(const uint8_t *key, uint8_t *text, uint16_t n);
#endif

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

#define WT_OPTIONS ((WT_SENSOR ? 0 : 1) + (WT_ECHO ? 0 : 2) + (WT_HIDDEN ? 4 : 0) + (WT_OWN_KEY ? 8 : 0))

#define WT_OPTION_BYTES 1, WT_OPTIONS, (WT_KEEPALIVE) & 255, (WT_KEEPALIVE) >> 8, (WT_BUFFER) & 255, (WT_BUFFER) >> 8, 0

/* Who the device is, once in the program: WT_DEVICE("lamp", 0x31, ...) with the 16 bytes
 * of its key. It is in flash.
 *
 * A program that learns it only when it runs defines WT_NAMED, and before it includes wt_core.h
 * WT_DEVICE_KEY (where the key is, on AVR in flash), WT_DEVICE_NAME (where the name is) and
 * WT_DEVICE_NAME_N (1 to WT_NAME_MAX). */
#ifndef WT_NAMED
struct wt_device {
	uint8_t options[7], key[16], n;
	char name[WT_NAME_MAX + 1];
};
#define WT_DEVICE(NAME, ...) \
	extern const struct wt_device wt_device PROGMEM; \
	const struct wt_device wt_device PROGMEM = { \
		{WT_OPTION_BYTES}, {__VA_ARGS__}, sizeof(NAME) - 1, NAME}
extern const struct wt_device wt_device PROGMEM;
#endif

#ifdef __cplusplus
}
#endif
#endif
