/* A device on a PC: it joins channel 5, says there what is typed, and prints what it hears.
 *
 *   cc -I../../src -o lamp lamp.c ../../src/wt_sip.c
 *   ./lamp 192.168.1.10 3033 319155101a72601f8164b4cfe93c20a2
 *
 * The last argument is the key, which `watchtower device key lamp` prints. With - in place of the
 * address it looks for the gateway in its network. */
#define WT_NAMED /* name and key are not in the program */
#define WT_DEVICE_KEY key
#define WT_DEVICE_NAME "lamp"
#define WT_DEVICE_NAME_N 4
#include "wt.h"
#include "wt_posix.h"

static uint8_t key[16];
#include "wt_core.h"

static int ready;

void wt_done(uint8_t op, uint8_t code) {
	if (op == 'r' && code == WT_OK) {
		wt_found();
		wt_join(5);
	}
	if (op == 'j' && code == WT_OK) ready = 1;
	if (op != 'p') printf("%c %d\n", op, code);
	if (op == 'b') ready = 1;
	fflush(stdout);
}

uint8_t wt_message(const wt_message_t *m, wt_size n) {
	printf("%u: %.*s\n", (unsigned)m->sender, (int)n, (const char *)m->data);
	fflush(stdout);
	return 1;
}

int main(int n, char **args) {
	static char line[WT_ROOM + 1];
	int i, file = 0;
	unsigned byte;
	if (n != 4 || strlen(args[3]) != 32) {
		fprintf(stderr, "usage: lamp HOST|- PORT KEY\n");
		return 2;
	}
	for (i = 0; i < 16 && sscanf(args[3] + 2 * i, "%2x", &byte) == 1; i++) key[i] = (uint8_t)byte;
	if (i < 16 || (strcmp(args[1], "-") ? wt_open(args[1], args[2]) : wt_open_any(args[2]))) {
		fprintf(stderr, "lamp: not a key, or no such host\n");
		return 1;
	}
	wt_begin();
	for (;;) {
		int typed = wt_wait(ready ? file : -1);
		wt_loop();
		if (!ready || !typed) continue;
		if (!fgets(line, sizeof line, stdin)) file = -1;
		else if (!wt_broadcast(5, line, (wt_size)strcspn(line, "\n"))) {
			wt_flags(1 | 4); /* text */
			ready = 0;
		}
	}
}
