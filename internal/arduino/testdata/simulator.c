/* An ATmega328P under simavr, whose serial line is this program's standard input and output.
 *
 *   simulator ELF EEPROM speed [writes]
 *
 * The file EEPROM is read at the start, if it is there, and written at the end. The processor
 * is so much faster than real time as speed says, if this machine can. After so many writes
 * of the EEPROM the power fails while the last of them goes on: the byte is erased.
 *
 * Input and output: type1 n2 and n bytes. D in, F out: a datagram; G: a byte that the program
 * wrote to GPIOR1. The end of the input is the end of the power.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <simavr/avr_eeprom.h>
#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_elf.h>
#include <simavr/sim_io.h>
#include <simavr/sim_time.h>

enum { END = 0xc0, ESCAPE = 0xdb, ESCAPED_END = 0xdc, ESCAPED_ESCAPE = 0xdd };
enum { GPIOR1 = 0x4a, EECR = 0x3f, EEARL = 0x41, EEARH = 0x42 }; /* addresses of data */

static avr_t *avr;
static avr_irq_t *to_avr;
static const char *eeprom_file;
static int ready = 1, writes, escaping;
static uint8_t from_avr[2048], waiting[1 << 16];
static unsigned from_n, head, tail;

static FILE *out; /* what was the standard output: simavr prints there */

static void tell(char type, const uint8_t *p, unsigned n) {
	fputc(type, out);
	fputc(n & 255, out);
	fputc(n >> 8, out);
	fwrite(p, 1, n, out);
	fflush(out);
}

static void keep_eeprom(void) {
	uint8_t b[1024];
	avr_eeprom_desc_t d = {.ee = b, .offset = 0, .size = sizeof b};
	FILE *f = fopen(eeprom_file, "wb");
	avr_ioctl(avr, AVR_IOCTL_EEPROM_GET, &d);
	if (!f || fwrite(b, 1, sizeof b, f) != sizeof b) abort();
	fclose(f);
}

static void load_eeprom(void) {
	uint8_t b[1024];
	avr_eeprom_desc_t d = {.ee = b, .offset = 0, .size = sizeof b};
	FILE *f = fopen(eeprom_file, "rb");
	if (!f) return;
	if (fread(b, 1, sizeof b, f) == sizeof b) avr_ioctl(avr, AVR_IOCTL_EEPROM_SET, &d);
	fclose(f);
}

/* power_off ends the simulation while a byte is being written. */
static void power_off(void) {
	uint8_t erased = 0xff;
	avr_eeprom_desc_t d = {.ee = &erased, .offset = (uint16_t)(avr->data[EEARL] | avr->data[EEARH] << 8), .size = 1};
	avr_ioctl(avr, AVR_IOCTL_EEPROM_SET, &d);
	keep_eeprom();
	exit(0);
}

static void put(uint8_t b) { waiting[head++ % sizeof waiting] = b; }

static void datagram(const uint8_t *p, unsigned n) {
	if (sizeof waiting - (head - tail) < 2 * n + 2) return; /* as lost on the way */
	put(END);
	for (; n; n--, p++) {
		if (*p == END || *p == ESCAPE) {
			put(ESCAPE);
			put(*p == END ? ESCAPED_END : ESCAPED_ESCAPE);
		} else
			put(*p);
	}
	put(END);
}

static void on_byte(struct avr_irq_t *irq, uint32_t value, void *p) {
	uint8_t b = (uint8_t)value;
	(void)irq, (void)p;
	if (b == END) {
		if (from_n) tell('F', from_avr, from_n);
		from_n = 0;
	} else if (b == ESCAPE) {
		escaping = 1;
		return;
	} else if (from_n < sizeof from_avr)
		from_avr[from_n++] = escaping ? b == ESCAPED_END ? END : ESCAPE : b;
	escaping = 0;
}

static void on_xon(struct avr_irq_t *irq, uint32_t value, void *p) {
	(void)irq, (void)value, (void)p;
	ready = 1;
}
static void on_xoff(struct avr_irq_t *irq, uint32_t value, void *p) {
	(void)irq, (void)value, (void)p;
	ready = 0;
}

static avr_cycle_count_t feed(avr_t *a, avr_cycle_count_t when, void *p) {
	(void)p;
	if (head != tail && ready) avr_raise_irq(to_avr, waiting[tail++ % sizeof waiting]);
	return when + avr_usec_to_cycles(a, 90);
}

static void on_gpior1(avr_t *a, avr_io_addr_t at, uint8_t value, void *p) {
	(void)p;
	a->data[at] = value;
	tell('G', &value, 1);
}

static void no_sleep(avr_t *a, avr_cycle_count_t n) { (void)a, (void)n; }

static void start(const char *elf) {
	elf_firmware_t f;
	uint32_t flags = 0;
	memset(&f, 0, sizeof f);
	if (elf_read_firmware(elf, &f) || !(avr = avr_make_mcu_by_name("atmega328p"))) exit(1);
	avr_init(avr);
	f.frequency = 16000000;
	avr_load_firmware(avr, &f);
	avr->log = 1;
	avr->sleep = no_sleep;
	avr_ioctl(avr, AVR_IOCTL_UART_GET_FLAGS('0'), &flags);
	flags &= ~(uint32_t)(AVR_UART_FLAG_STDIO | AVR_UART_FLAG_POLL_SLEEP);
	avr_ioctl(avr, AVR_IOCTL_UART_SET_FLAGS('0'), &flags);
	to_avr = avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_INPUT);
	avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUTPUT), on_byte, 0);
	avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XON), on_xon, 0);
	avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_UART_GETIRQ('0'), UART_IRQ_OUT_XOFF), on_xoff, 0);
	avr_cycle_timer_register_usec(avr, 90, feed, 0);
	avr_register_io_write(avr, GPIOR1, on_gpior1, 0);
}

/* step runs the processor for a quarter of a millisecond of its time. */
static void step(void) {
	avr_cycle_count_t end = avr->cycle + 4000;
	while (avr->cycle < end) {
		int state = avr_run(avr);
		if (state == cpu_Done || state == cpu_Crashed) exit(2);
		if (writes && (avr->data[EECR] & 2)) { /* EEPE: a write has begun */
			static avr_cycle_count_t last;
			if (avr->cycle > last + 1000 && !--writes) power_off();
			last = avr->cycle;
		}
	}
}

/* input takes what came. It returns 0 at the end. */
static int input(int timeout) {
	static uint8_t in[1 << 17];
	static unsigned n;
	struct pollfd p = {.fd = 0, .events = POLLIN};
	while (poll(&p, 1, timeout) > 0) {
		ssize_t got = read(0, in + n, sizeof in - n);
		unsigned at = 0;
		if (got <= 0) return 0;
		n += (unsigned)got;
		while (n - at >= 3 && n - at - 3 >= (in[at + 1] | (unsigned)in[at + 2] << 8)) {
			unsigned size = in[at + 1] | (unsigned)in[at + 2] << 8;
			datagram(in + at + 3, size);
			at += 3 + size;
		}
		memmove(in, in + at, n - at);
		n -= at;
		timeout = 0;
	}
	return 1;
}

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int n, char **args) {
	double speed, begun = now();
	if (n < 4 || !(out = fdopen(dup(1), "wb")) || dup2(2, 1) < 0) return 2;
	eeprom_file = args[2];
	speed = atof(args[3]);
	if (n > 4) writes = atoi(args[4]);
	start(args[1]);
	load_eeprom();
	for (;;) {
		double ahead;
		step();
		ahead = (double)avr->cycle / 16e6 / speed - (now() - begun);
		if (ahead < -0.05) begun -= ahead; /* this machine is too slow: do not catch up */
		if (!input(ahead > 0.001 ? (int)(ahead * 1000) : 0)) break;
	}
	keep_eeprom();
	return 0;
}
