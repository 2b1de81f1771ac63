// A Watchtower device with basic frames: the smallest, for your own network only. The key
// goes over the network as it is, nobody proves who speaks, and messages are sent once.
#ifndef WATCHTOWER_BASIC_H
#define WATCHTOWER_BASIC_H

#ifdef WATCHTOWER_SESSION_H
#error "include one of Watchtower.h, WatchtowerSensor.h and WatchtowerBasic.h"
#endif

#include <Arduino.h>
#include <Udp.h>

#ifdef WATCHTOWER_BUFFER // bytes of the largest datagram; messages have 18 less
#define WT_BUFFER WATCHTOWER_BUFFER
#endif
// WATCHTOWER_FIND: the gateway is found, see begin
#ifndef WATCHTOWER_PORT // the gateway's, and the device's own
#define WATCHTOWER_PORT 3033
#endif

#define WT_API static
#define WT_NAMED
#include "wt_basic.h"

// A message that came. It is good until the function that was given it returns, and until
// a message is sent.
class WatchtowerMessage {
public:
	WatchtowerMessage(const wt_message_t *m, uint8_t n) : frame(m), n(n) {}
	uint32_t sender() const { return frame->sender; }
	uint32_t channel() const { return frame->channel; }
	bool targeted() const { return frame->targeted; }
	const uint8_t *data() const { return frame->data; } // size() bytes, without a 0 at the end
	uint8_t size() const { return n; }
	bool is(const char *text) const { return strlen(text) == n && !memcmp(text, frame->data, n); }

private:
	const wt_message_t *frame;
	uint8_t n;
};

static struct {
	UDP *udp;
	const char *key; // in flash
	void (*message)(const WatchtowerMessage &);
	void (*done)(uint8_t op, uint8_t code);
	uint32_t gateway;
	uint32_t channel; // 0: none
	uint8_t joined;   // 0: not yet, 1: asked for, 2: yes
} watchtower;

#define WT_KEY_N() ((uint8_t)strlen_P(watchtower.key))
#define WT_KEY_AT(i) pgm_read_byte(watchtower.key + (i))
#include "wt_basic_core.h"
static void wt_transmit(const uint8_t *frame, uint8_t n) {
#ifdef WATCHTOWER_FIND
	if (!watchtower.gateway) return; // it is not found yet
#endif
	watchtower.udp->beginPacket(IPAddress(watchtower.gateway), WATCHTOWER_PORT);
	watchtower.udp->write(frame, n);
	watchtower.udp->endPacket();
}
#ifdef WATCHTOWER_FIND
#include "watchtower_find.h"
#endif
static uint8_t wt_receive(uint8_t *to) {
	int n = watchtower.udp->parsePacket();
	if (n <= 0 || n > WT_BUFFER) return 0;
#ifdef WATCHTOWER_FIND
	if (n == WT_FIND_N) {
		watchtower.udp->read(to, WT_FIND_N);
		if (wt_self.op == 'K') watchtower_found(to);
		return 0;
	}
#endif
	if (watchtower.udp->remotePort() != WATCHTOWER_PORT || (uint32_t)watchtower.udp->remoteIP() != watchtower.gateway) return 0;
	return (uint8_t)watchtower.udp->read(to, (size_t)n);
}
static uint16_t wt_clock() { return (uint16_t)(millis() >> 8); }
static void wt_done(uint8_t op, uint8_t code) {
	if (op == 'K') watchtower.joined = 0;
	if (op == 'J' && !code) watchtower.joined = 2;
	if (watchtower.done) watchtower.done(op, code);
}
static void wt_message(const wt_message_t *m, uint8_t n) {
	if (watchtower.message) watchtower.message(WatchtowerMessage(m, n));
}

// A device. The functions are those of the class in WatchtowerSession.h, as far as there
// are any; a message is sent at once, and its text may be gone afterwards.
class Watchtower {
public:
	// The key is the gateway's secret key, or its key for basic frames, in PROGMEM.
	Watchtower(UDP &udp, const char *key) {
		watchtower.udp = &udp;
		watchtower.key = key;
	}
	bool begin(IPAddress gateway) {
		watchtower.gateway = gateway;
		if (WT_KEY_N() > WT_BUFFER - 2 || !watchtower.udp->begin(WATCHTOWER_PORT)) return false;
		wt_begin();
		return true;
	}
#ifdef WATCHTOWER_FIND
	// begin without an address gives the key to any gateway that answers.
	bool begin() { return begin(IPAddress((uint32_t)0)); }
#endif
	void join(uint32_t channel) {
		watchtower.channel = channel;
		watchtower.joined = 0;
	}
	void loop() {
#ifdef WATCHTOWER_FIND
		watchtower_look();
#endif
		wt_loop();
		if (!watchtower.joined && watchtower.channel && wt_self.id && !wt_join(watchtower.channel)) watchtower.joined = 1;
	}
	bool ready() const { return watchtower.joined == 2; }
	void onDone(void (*done)(uint8_t op, uint8_t code)) { watchtower.done = done; }
	void onMessage(void (*message)(const WatchtowerMessage &)) { watchtower.message = message; }
	uint8_t broadcast(uint32_t channel, const char *text) { return send(channel, 0, text); }
	uint8_t send(uint32_t channel, uint32_t receiver, const char *text) {
		size_t n = strlen(text);
		return n > WT_ROOM ? (uint8_t)WT_BAD : wt_send(channel, receiver, text, (uint8_t)n);
	}
};

#endif
