// Enough of an ESP's core to run the examples on a PC, beside testdata/pc. Pins print what they are set to.
#ifndef WiFi_h
#define WiFi_h
#include <fcntl.h> // as the cores' own headers do: a sketch cannot have these names
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <Arduino.h>

typedef uint8_t byte;
enum { LOW, HIGH, OUTPUT, D1 = 5, WL_CONNECTED = 3 };

unsigned long millis() {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (unsigned long)(t.tv_sec * 1000 + t.tv_nsec / 1000000);
}

static void delay(unsigned long) {}
static void pinMode(uint8_t pin, uint8_t) { printf("pin %d\n", pin); }
static void digitalWrite(uint8_t pin, uint8_t to) { printf("%d %s\n", pin, to ? "HIGH" : "LOW"); }

struct __FlashStringHelper;
#define F(text) ((const __FlashStringHelper *)(text))

static struct {
	void begin(unsigned long) { setvbuf(stdout, NULL, _IOLBF, 0); }
	void print(const __FlashStringHelper *text) { printf("%s", (const char *)text); }
	void println(const __FlashStringHelper *text) { printf("%s\n", (const char *)text); }
	void println(int n) { printf("%d\n", n); }
} Serial;

static struct {
	int tries;
	void begin(const char *, const char *) { tries = 0; }
	int status() { return ++tries == 3 ? WL_CONNECTED : 0; }
} WiFi;

static uint32_t random32() {
	uint32_t r;
	FILE *f = fopen("/dev/urandom", "rb");
	if (!f || fread(&r, 1, 4, f) != 4) abort();
	fclose(f);
	return r;
}
#define WATCHTOWER_RANDOM32() random32()
#endif
