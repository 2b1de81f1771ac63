// A sketch that looks for its gateway, on a PC. Its network is the socket at a port of this
// machine, where each datagram has its other end's address before it. It prints what becomes of
// its requests.
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <Arduino.h>
#include <Udp.h>

static uint32_t random32() {
	uint32_t r;
	FILE *f = fopen("/dev/urandom", "rb");
	if (!f || fread(&r, 1, 4, f) != 4) abort();
	fclose(f);
	return r;
}
#define WATCHTOWER_RANDOM32() random32()
#define WATCHTOWER_FIND
#ifdef BASIC
#include <WatchtowerBasic.h>
#else
#include <Watchtower.h>
#endif

unsigned long millis() {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return SPEED * (unsigned long)(t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

class Network : public UDP {
public:
	int port = 0;
	uint8_t begin(uint16_t) override {
		struct sockaddr_in to = {};
		to.sin_family = AF_INET;
		to.sin_port = htons((uint16_t)port);
		to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		socket_ = socket(AF_INET, SOCK_DGRAM, 0);
		return connect(socket_, (struct sockaddr *)&to, sizeof to) == 0;
	}
	int beginPacket(IPAddress to, uint16_t) override {
		uint32_t address = to;
		memcpy(out, &address, 4);
		n = 4;
		return 1;
	}
	size_t write(const uint8_t *b, size_t size) override {
		memcpy(out + n, b, size);
		n += size;
		return size;
	}
	int endPacket() override { return send(socket_, out, n, 0) == (ssize_t)n; }
	int parsePacket() override {
		got = recv(socket_, in, sizeof in, MSG_DONTWAIT);
		return got > 4 ? (int)got - 4 : 0;
	}
	int read(unsigned char *to, size_t most) override {
		size_t size = (size_t)got - 4 < most ? (size_t)got - 4 : most;
		memcpy(to, in + 4, size);
		return (int)size;
	}
	IPAddress remoteIP() override {
		uint32_t from;
		memcpy(&from, in, 4);
		return IPAddress(from);
	}
	uint16_t remotePort() override { return WATCHTOWER_PORT; }
	void wait() {
		struct pollfd p = {socket_, POLLIN, 0};
		poll(&p, 1, 2);
	}

private:
	int socket_ = -1;
	uint8_t out[2000], in[2000];
	size_t n = 0;
	ssize_t got = 0;
};

static uint8_t key[16];
static Network network;

static void done(uint8_t op, uint8_t code) {
	printf("%c %d\n", op, code);
	fflush(stdout);
}

int main(int n, char **args) {
	unsigned byte;
	if (n != 3) return 2;
	network.port = atoi(args[1]);
#ifdef BASIC
	Watchtower wt(network, args[2]);
#else
	for (int i = 0; i < 16 && sscanf(args[2] + 2 * i, "%2x", &byte) == 1; i++) key[i] = (uint8_t)byte;
	Watchtower wt(network, "lamp", key);
#endif
	(void)byte;
	(void)key;
	wt.onDone(done);
	wt.join(5);
	if (!wt.begin()) return 1;
	for (;;) {
		network.wait();
		wt.loop();
	}
}
