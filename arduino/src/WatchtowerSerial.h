// Datagrams over a serial line, for a radio module or a cable to a PC: SLIP (RFC 1055).
// What is at the other end passes them to the gateway's UDP port, and back.
//
//   WatchtowerSerial line(Serial1);
//   Watchtower wt(line, "lamp", KEY);
//
// A datagram is kept while it comes in: this takes WATCHTOWER_BUFFER bytes of RAM more.
// Call loop often: Arduino keeps only 64 bytes that came.
#ifndef WATCHTOWER_SERIAL_H
#define WATCHTOWER_SERIAL_H

#include <Arduino.h>
#include <Udp.h>

#ifndef WATCHTOWER_BUFFER
#define WATCHTOWER_BUFFER 96
#endif

class WatchtowerSerial : public UDP {
public:
	WatchtowerSerial(Stream &line) : line(line) {}

	uint8_t begin(uint16_t) override { return 1; }
	void stop() override {}
	int beginPacket(IPAddress to, uint16_t port) override {
		peer = to;
		peerPort = port;
		return 1;
	}
	int beginPacket(const char *, uint16_t) override { return 1; }
	int endPacket() override { return line.write(end); }
	size_t write(uint8_t b) override {
		if (b != end && b != escape) return line.write(b);
		line.write(escape);
		return line.write(b == end ? escapedEnd : escapedEscape);
	}
	size_t write(const uint8_t *b, size_t n) override {
		for (size_t i = 0; i < n; i++) write(b[i]);
		return n;
	}

	// parsePacket takes what came, and returns the size of a datagram that is whole.
	int parsePacket() override {
		if (whole) n = whole = 0; // the sketch has read it, or does not want it
		while (line.available()) {
			uint8_t b = line.read();
			if (b == end) {
				bool good = n && n <= sizeof buffer;
				if (good) {
					whole = n;
					at = 0;
					return n;
				}
				n = 0;
				continue;
			}
			if (b == escape) {
				escaping = true;
				continue;
			}
			if (escaping) b = b == escapedEnd ? end : escape;
			escaping = false;
			if (n < sizeof buffer) buffer[n] = b;
			if (n <= sizeof buffer) n++; // one too many: it is too long
		}
		return 0;
	}
	int available() override { return whole - at; }
	int read() override { return at < whole ? buffer[at++] : -1; }
	int read(unsigned char *to, size_t most) override {
		size_t i = 0;
		while (i < most && at < whole) to[i++] = buffer[at++];
		return i;
	}
	int read(char *to, size_t most) override { return read((unsigned char *)to, most); }
	int peek() override { return at < whole ? buffer[at] : -1; }
	void flush() override {}
	// Whoever is at the other end has the address that was last sent to.
	IPAddress remoteIP() override { return IPAddress(peer); }
	uint16_t remotePort() override { return peerPort; }

private:
	static const uint8_t end = 0xc0, escape = 0xdb, escapedEnd = 0xdc, escapedEscape = 0xdd;
	Stream &line;
	uint8_t buffer[WATCHTOWER_BUFFER];
	uint16_t n = 0, whole = 0, at = 0; // bytes that came, of a datagram that is whole, read
	bool escaping = false;
	uint32_t peer = 0;
	uint16_t peerPort = 0;
};

#endif
