// A sketch that looks for its gateway, on a PC. It prints what becomes of its requests.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <WiFiUdp.h>

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

static uint8_t key[16];
static WiFiUDP network;

static void done(uint8_t op, uint8_t code) {
	printf("%c %d\n", op, code);
	fflush(stdout);
}

int main(int n, char **args) {
	unsigned byte;
	if (n != 3) return 2;
	townPort = atoi(args[1]);
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
