/* An ATmega328P under simavr, whose network is this program's standard input and output.
 *
 *   simulator ELF EEPROM speed [writes [chip]]
 *
 * The file EEPROM is read at the start, if it is there, and written at the end. T gives it
 * milliseconds of real time, of which each lets as many pass as speed says, if this machine can. More
 * than 20 are lost. So the processor's time stands still while whoever gives it stands still. After so many writes of the
 * EEPROM (0: never) the power fails while the last of them goes on: the byte is erased.
 *
 * The network is at the serial line, as SLIP; with chip it is a chip at GPIOR0 and GPIOR2 (see
 * chip/Ethernet.h), and the serial line is a monitor.
 *
 * Input and output: type1 n2 and n bytes. D in, F out: a datagram; G out: a byte that the program
 * wrote to GPIOR1, or to the monitor; P out: the new level of pin 7; I in: that of pin 2; B in: a
 * new value of GPIOR0.
 * The end of the input is the end of the power.
 */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <simavr/avr_eeprom.h>
#include <simavr/avr_ioport.h>
#include <simavr/avr_uart.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_elf.h>
#include <simavr/sim_io.h>
#include <simavr/sim_time.h>

enum { END = 0xc0, ESCAPE = 0xdb, ESCAPED_END = 0xdc, ESCAPED_ESCAPE = 0xdd };
enum { GPIOR0 = 0x3e, GPIOR1 = 0x4a, GPIOR2 = 0x4b, EECR = 0x3f, EEARL = 0x41, EEARH = 0x42 }; /* addresses of data */

static avr_t *avr;
static avr_irq_t *to_avr;
static const char *eeprom_file;
static int ready = 1, writes, escaping, chip, feeding;
static avr_cycle_count_t each, until; /* cycles of a ms, and up to which it may run */
static uint8_t from_avr[2048], waiting[1 << 16];
static unsigned from_n, head, tail, chip_left;

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
static uint8_t take(void) { return waiting[tail++ % sizeof waiting]; }

/* feed gives a byte to the serial line. */
static avr_cycle_count_t feed(avr_t *a, avr_cycle_count_t when, void *p) {
	(void)p;
	feeding = head != tail;
	if (feeding && ready) avr_raise_irq(to_avr, take());
	return feeding ? when + avr_usec_to_cycles(a, 90) : 0;
}

static void datagram(const uint8_t *p, unsigned n) {
	if (sizeof waiting - (head - tail) < 2 * n + 2) return; /* as lost on the way */
	if (chip) {
		put(n & 255);
		put((uint8_t)(n >> 8));
		while (n--) put(*p++);
		return;
	}
	put(END);
	for (; n; n--, p++) {
		if (*p == END || *p == ESCAPE) {
			put(ESCAPE);
			put(*p == END ? ESCAPED_END : ESCAPED_ESCAPE);
		} else
			put(*p);
	}
	put(END);
	if (!feeding) avr_cycle_timer_register_usec(avr, 90, feed, 0);
	feeding = 1;
}

static void on_byte(struct avr_irq_t *irq, uint32_t value, void *p) {
	uint8_t b = (uint8_t)value;
	(void)irq, (void)p;
	if (chip) {
		tell('G', &b, 1);
	} else if (b == END) {
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

static void on_gpior1(avr_t *a, avr_io_addr_t at, uint8_t value, void *p) {
	(void)p;
	a->data[at] = value;
	tell('G', &value, 1);
}

/* The chip: 1 to GPIOR0 sends what was written to GPIOR2, 2 takes the next datagram, whose
 * length, 2 bytes, and bytes can be read there. */
static void on_gpior0(avr_t *a, avr_io_addr_t at, uint8_t value, void *p) {
	(void)p;
	a->data[at] = value;
	if (value == 1) {
		tell('F', from_avr, from_n);
		from_n = 0;
	}
	if (value == 2) {
		while (chip_left) take(), chip_left--; /* nobody wants the rest */
		if (head != tail) chip_left = 2u + (waiting[tail % sizeof waiting] | (unsigned)waiting[(tail + 1) % sizeof waiting] << 8);
	}
}
static void on_gpior2(avr_t *a, avr_io_addr_t at, uint8_t value, void *p) {
	(void)a, (void)at, (void)p;
	if (from_n < sizeof from_avr) from_avr[from_n++] = value;
}
static uint8_t get_gpior2(avr_t *a, avr_io_addr_t at, void *p) {
	(void)a, (void)at, (void)p;
	return chip_left ? chip_left--, take() : 0;
}

static void on_pin7(struct avr_irq_t *irq, uint32_t value, void *p) {
	uint8_t b = value & 1;
	(void)irq, (void)p;
	tell('P', &b, 1);
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
	avr_register_io_write(avr, GPIOR1, on_gpior1, 0);
	if (!chip) return;
	avr_register_io_write(avr, GPIOR0, on_gpior0, 0);
	avr_register_io_write(avr, GPIOR2, on_gpior2, 0);
	avr_register_io_read(avr, GPIOR2, get_gpior2, 0);
	avr_irq_register_notify(avr_io_getirq(avr, AVR_IOCTL_IOPORT_GETIRQ('D'), 7), on_pin7, 0);
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

/* pin2 sets the level of pin 2, and lets the program see it for a tenth of a second. */
static void pin2(uint8_t level) {
	int i;
	avr_raise_irq(avr_io_getirq(avr, AVR_IOCTL_IOPORT_GETIRQ('D'), 2), level);
	for (i = 0; i < 400; i++) step();
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
			if (in[at] == 'B') avr->data[GPIOR0] = in[at + 3];
			else if (in[at] == 'I')
				pin2(in[at + 3]);
			else if (in[at] == 'T') {
				avr_cycle_count_t most = avr->cycle + 20 * each;
				until += in[at + 3] * each;
				if (until > most) until = most;
			} else
				datagram(in + at + 3, size);
			at += 3 + size;
		}
		memmove(in, in + at, n - at);
		n -= at;
		timeout = 0;
	}
	return 1;
}

int main(int n, char **args) {
	if (n < 4 || !(out = fdopen(dup(1), "wb")) || dup2(2, 1) < 0) return 2;
	eeprom_file = args[2];
	each = (avr_cycle_count_t)atoi(args[3]) * 16000;
	if (n > 4) writes = atoi(args[4]);
	chip = n > 5;
	start(args[1]);
	load_eeprom();
	while (input(avr->cycle < until ? 0 : -1))
		if (avr->cycle < until) step();
	keep_eeprom();
	return 0;
}
