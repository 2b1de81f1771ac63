// The class Watchtower for session frames. A sketch includes Watchtower.h, or
// WatchtowerSensor.h for a device that hears nothing, in its one .ino file.
#ifndef WATCHTOWER_SESSION_H
#define WATCHTOWER_SESSION_H

#ifdef WATCHTOWER_BASIC_H
#error "include one of Watchtower.h, WatchtowerSensor.h and WatchtowerBasic.h"
#endif

#include <Arduino.h>
#include <Udp.h>

// What a sketch may define before the include.
#ifdef WATCHTOWER_BUFFER // bytes of the largest datagram; messages have 30 less
#define WT_BUFFER WATCHTOWER_BUFFER
#endif
#ifdef WATCHTOWER_KEEPALIVE // seconds, 5 to 3,600; 60
#define WT_KEEPALIVE WATCHTOWER_KEEPALIVE
#endif
#ifdef WATCHTOWER_NO_ECHO // the device does not hear its own broadcasts
#define WT_ECHO 0
#endif
#ifdef WATCHTOWER_PLAIN // bodies are not hidden: smaller, and for old gateways
#define WT_HIDDEN 0
#endif
#ifdef WATCHTOWER_SHARED_KEY // the key is the one of `watchtower device-key`, not the name's own
#define WT_OWN_KEY 0
#endif
// WATCHTOWER_FIND: the gateway is found, see begin
#ifndef WATCHTOWER_PORT // the gateway's, and the device's own
#define WATCHTOWER_PORT 3033
#endif

#define WT_API static
#define WT_NAMED
#include "wt.h"

#if !WT_SENSOR
// A message that came. It is good until the function that was given it returns.
class WatchtowerMessage {
public:
	uint32_t sender() const { return m.sender; }
	uint32_t channel() const { return m.channel; }
	bool targeted() const { return m.targeted; }   // sent to this device alone
	bool truncated() const { return m.flags & 2; } // it was longer than the buffer has room for
	const uint8_t *data() const { return m.data; } // size() bytes, without a 0 at the end
	wt_size size() const { return (wt_size)(m.body - 10); }
	// is says whether the message is a text.
	bool is(const char *text) const { return strlen(text) == size() && !memcmp(text, m.data, size()); }

private:
	wt_message_t m; // where it lies in the core's buffer
};
#endif

// What a sketch says of a device. The compiler knows it, so no code sets it.
struct WatchtowerDevice {
	UDP *udp;
	const char *name;
	uint8_t name_n;     // 255: that or more
	const uint8_t *key; // in flash
};

// What the class knows. There is one device in a sketch.
static struct WatchtowerState {
	const WatchtowerDevice *device;
#if !WT_SENSOR
	void (*message)(const WatchtowerMessage &);
#endif
	void (*done)(uint8_t op, uint8_t code);
	uint8_t gateway[4]; // its address
	uint32_t channel;   // 0: none
	uint8_t joined;     // 0: not yet, 1: asked for, 2: yes
} watchtower;

// As in the core: through a pointer of which the compiler does not know where it points, an access
// takes half as much code on AVR.
#ifdef __AVR__
#define WATCHTOWER_SELF WatchtowerState *k = &watchtower; __asm__("" : "+b"(k))
#else
#define WATCHTOWER_SELF WatchtowerState *k = &watchtower
#endif

#define WT_DEVICE_KEY watchtower.device->key
#define WT_DEVICE_NAME watchtower.device->name
#define WT_DEVICE_NAME_N watchtower.device->name_n
#include "wt_core.h"
#include "watchtower_nonce.h"

static bool watchtower_named(uint8_t n); // whether a name of n bytes is neither empty nor too long
static bool watchtower_open(UDP *udp);
#ifdef WATCHTOWER_FIND
static IPAddress watchtower_from(); // who sent the last datagram
#endif

// What the core and the class need of the network and the name. The constructor makes these bodies
// for the type of the sketch's UDP, and for a name in an array of N bytes; 0: it is not in one. So
// no pointer to a function is kept, and the UDP's own functions are called and not virtual ones. A
// sketch with two types of UDP does not compile.
template <class U, size_t N> struct WatchtowerOver {
	static_assert(!__is_abstract(U), "give the constructor the EthernetUDP or WiFiUDP itself, not a UDP &");
	friend bool watchtower_named(uint8_t n) { return (N > 1 && N - 1 <= WT_NAME_MAX) || (uint8_t)(n - 1) < WT_NAME_MAX; }
	friend bool watchtower_open(UDP *udp) { return static_cast<U *>(udp)->U::begin(WATCHTOWER_PORT); }
	friend wt_size wt_receive(uint8_t *to) { return receive(static_cast<U *>(watchtower.device->udp), to); }
	friend void wt_transmit(const uint8_t *frame, wt_size n) { transmit(frame, n); }
#ifdef WATCHTOWER_FIND
	friend IPAddress watchtower_from() { return static_cast<U *>(watchtower.device->udp)->U::remoteIP(); }
#endif

	// gcc 12 takes no variables in the friends themselves, where a device is a variable of a function.
	static wt_size receive(U *udp, uint8_t *to) {
		int n = udp->U::parsePacket();
		return n <= 0 || n > WT_BUFFER ? 0 : (wt_size)udp->U::read((unsigned char *)to, (size_t)n);
	}
	static void transmit(const uint8_t *frame, wt_size n) {
		WATCHTOWER_SELF;
		U *udp = static_cast<U *>(k->device->udp);
#ifdef WATCHTOWER_FIND
		if (*frame == 'r') k->gateway[0] = k->gateway[1] = k->gateway[2] = k->gateway[3] = 255; // to all: who knows the key answers
#endif
		udp->U::beginPacket(IPAddress(k->gateway[0], k->gateway[1], k->gateway[2], k->gateway[3]), WATCHTOWER_PORT);
		udp->U::write(frame, (size_t)n);
		udp->U::endPacket();
	}
};

static uint16_t wt_clock() { return (uint16_t)(millis() >> 8); }
#ifdef WATCHTOWER_FIND
static __attribute__((noinline)) void watchtower_found() {
	IPAddress from = watchtower_from();
	watchtower.gateway[0] = from[0];
	watchtower.gateway[1] = from[1];
	watchtower.gateway[2] = from[2];
	watchtower.gateway[3] = from[3];
}
#endif
static void wt_done(uint8_t op, uint8_t code) {
#ifdef WATCHTOWER_FIND
	if (op == 'r') watchtower_found(); // by the answer, which is genuine
#endif
	WATCHTOWER_SELF;
	if (op == 'r') k->joined = 0;
	if (op == 'j' && !code) k->joined = 2;
	if (k->done) k->done(op, code);
}
#if !WT_SENSOR
static uint8_t wt_message(const wt_message_t *m, wt_size) {
	if (watchtower.message) watchtower.message(*(const WatchtowerMessage *)m);
	return 1;
}
#endif

#define WATCHTOWER_TEXT ((size_t)-1) // so many bytes: until the 0 at the end
#define WT_ON_STACK 13 // the data is a local variable, which is gone when the message is repeated

// A text that is no constant array.
struct WatchtowerText {
	constexpr WatchtowerText(const char *text) : text(text) {}
	const char *text;
};

// watchtower_say says n bytes to all on a channel. It is no member, so that the compiler sees
// all its calls, and leaves out what they have in common.
static __attribute__((noinline)) uint8_t watchtower_say(uint32_t channel, const void *data, size_t n, uint8_t flags) {
	uint8_t code;
#ifdef __AVR__
	if ((uint16_t)data > SP) return WT_ON_STACK;
#endif
	if (n == WATCHTOWER_TEXT) n = strlen((const char *)data);
	if (n > WT_ROOM) return WT_BAD;
	code = wt_broadcast(channel, data, (wt_size)n);
#if WT_SENSOR
	(void)flags;
#else
	if (!code) wt_flags(flags);
#endif
	return code;
}

// A device. All functions that return a number return 0 if the request has begun; loop
// sends it, and the function given to onDone is told the end. Else they return WT_BUSY
// (another request is under way, or there is no session yet), WT_BAD (more data than
// WT_ROOM), or WT_ON_STACK. A text or data that is sent stays as it is until the end: it is
// a constant, global or static.
class Watchtower {
public:
	// The name has 1 to WT_NAME_MAX of A-Z a-z 0-9 _ . : -, and stays as it is. The key is in
	// PROGMEM.
	template <class U, size_t N>
	constexpr Watchtower(U &udp, const char (&name)[N], const uint8_t *key)
		: device{&udp, name, length(name + 0 * sizeof(WatchtowerOver<U, N>)), key} {}
	template <class U>
	constexpr Watchtower(U &udp, WatchtowerText name, const uint8_t *key)
		: device{&udp, name.text, length(name.text + 0 * sizeof(WatchtowerOver<U, 0>)), key} {}

	// begin registers at the gateway. It returns false if no socket is left, or the name is
	// empty or too long.
	bool begin(const IPAddress &gateway) {
		WATCHTOWER_SELF;
		k->gateway[0] = gateway[0];
		k->gateway[1] = gateway[1];
		k->gateway[2] = gateway[2];
		k->gateway[3] = gateway[3];
		return start();
	}

#ifdef WATCHTOWER_FIND
	// begin without an address asks the whole network for each session. So the gateway may get
	// another address. No other gateway can answer in its place, because none has the key.
	bool begin() { return start(); }
#endif

	// join makes loop join a channel, in each session anew. There is one; another takes its
	// place. Without one onDone is told 'j' and WT_BAD.
	void join(uint32_t channel) {
		WATCHTOWER_SELF;
		k->channel = channel;
		k->joined = 0;
	}

	// loop does what is due. Call it as often as you can.
	void loop() {
		wt_loop();
		WATCHTOWER_SELF;
		if (!k->joined && !wt_join(k->channel)) k->joined = 1;
	}

	// ready says whether the channel is joined and a request may begin.
	bool ready() const { return watchtower.joined == 2 && !wt_self.left; }

	// onDone gives the function that is told the end of requests: 'j' join, 'b' broadcast,
	// 's' send, 'd' sleep, 'p' ping, 'r' a new session; code is WT_OK or why not.
	void onDone(void (*done)(uint8_t op, uint8_t code)) { WATCHTOWER_SELF; k->done = done; }

	// broadcast says a text to all on a channel.
	template <size_t n> uint8_t broadcast(uint32_t channel, const char (&text)[n]) {
		static_assert(n - 1 <= WT_ROOM, "this text is longer than WATCHTOWER_BUFFER has room for");
		return watchtower_say(channel, text, WATCHTOWER_TEXT, 5);
	}
	template <size_t n> uint8_t broadcast(uint32_t channel, char (&text)[n]) { return watchtower_say(channel, text, WATCHTOWER_TEXT, 5); }
	uint8_t broadcast(uint32_t channel, WatchtowerText text) { return watchtower_say(channel, text.text, WATCHTOWER_TEXT, 5); }
	uint8_t broadcast(uint32_t channel, const uint8_t *data, size_t n) { return watchtower_say(channel, data, n, 1); }

	// ping is over when no message is left for this device.
	uint8_t ping() { return wt_ping(); }

#if !WT_SENSOR
	// onMessage gives the function that is told each message, once.
	void onMessage(void (*message)(const WatchtowerMessage &)) { WATCHTOWER_SELF; k->message = message; }

	// send says a text to one who has joined the channel.
	uint8_t send(uint32_t channel, uint32_t receiver, WatchtowerText text) { return to(receiver, watchtower_say(channel, text.text, WATCHTOWER_TEXT, 5)); }
	uint8_t send(uint32_t channel, uint32_t receiver, const uint8_t *data, size_t n) { return to(receiver, watchtower_say(channel, data, n, 1)); }

	// sleep makes messages wait at the gateway for so many seconds, or until the next
	// request.
	uint8_t sleep(uint16_t seconds) { return wt_sleep(seconds); }
#endif

private:
	WatchtowerDevice device;

	bool start() {
		WATCHTOWER_SELF;
		k->device = &device;
		if (!watchtower_named(device.name_n) || !watchtower_open(device.udp)) return false;
		wt_begin();
		return true;
	}

	static constexpr uint8_t length(const char *name) {
		return __builtin_strlen(name) > 255 ? 255 : (uint8_t)__builtin_strlen(name);
	}
#if !WT_SENSOR
	static uint8_t to(uint32_t receiver, uint8_t code) {
		if (!code) wt_to(receiver);
		return code;
	}
#endif
};

#endif
