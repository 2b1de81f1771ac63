/* Datagrams, time and nonces of a PC, for the core: Linux, macOS, BSD. Include it after wt.h
 * and before wt_core.h, in one file. */
#ifndef WT_POSIX_H
#define WT_POSIX_H

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "wt.h"

static int wt_socket = -1;

/* wt_open opens the socket to the gateway. It returns 0, or -1 if the host is not known or
 * no socket is left. */
static int wt_open(const char *host, const char *port) {
	struct addrinfo want, *found, *a;
	memset(&want, 0, sizeof want);
	want.ai_socktype = SOCK_DGRAM;
	if (getaddrinfo(host, port, &want, &found)) return -1;
	for (a = found; a && wt_socket < 0; a = a->ai_next) {
		wt_socket = socket(a->ai_family, a->ai_socktype, a->ai_protocol);
		if (wt_socket >= 0 && connect(wt_socket, a->ai_addr, a->ai_addrlen)) {
			close(wt_socket);
			wt_socket = -1;
		}
	}
	freeaddrinfo(found);
	return wt_socket < 0 ? -1 : fcntl(wt_socket, F_SETFL, O_NONBLOCK);
}

/* wt_wait waits until a datagram is there or another file is ready, but not longer than a
 * unit of the core's clock. It returns 1 if the other file is; -1 is no file. */
static int wt_wait(int file) {
	struct pollfd p[2];
	p[0].fd = wt_socket;
	p[1].fd = file;
	p[0].events = p[1].events = POLLIN;
	return poll(p, 2, 256) > 0 && p[1].revents;
}

WT_API wt_size wt_receive(uint8_t *to) {
	uint8_t more[WT_BUFFER + 1];
	ssize_t n = recv(wt_socket, more, sizeof more, 0);
	if (n <= 0 || n > WT_BUFFER) return 0;
	memcpy(to, more, (size_t)n);
	return (wt_size)n;
}

WT_API void wt_transmit(const uint8_t *frame, wt_size n) {
	if (send(wt_socket, frame, n, 0) < 0) return; /* as lost on the way: it is repeated */
}

WT_API uint16_t wt_clock(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint16_t)((uint64_t)t.tv_sec * 125 / 32 + (uint64_t)t.tv_nsec / 256000000u);
}

WT_API void wt_nonce(uint8_t *to) {
	FILE *f = fopen("/dev/urandom", "rb");
	if (!f || fread(to, 1, 8, f) != 8) abort(); /* without it no session is safe */
	fclose(f);
}

#endif
