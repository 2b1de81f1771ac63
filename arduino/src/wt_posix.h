/* Datagrams, time and nonces of a PC, for the core: Linux, macOS, BSD. Include it after wt.h
 * and before wt_core.h, in one file. */
#ifndef WT_POSIX_H
#define WT_POSIX_H

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "wt.h"

static int wt_socket = -1;

static struct sockaddr_in wt_everybody, wt_gateway, wt_last; /* wt_last sent the last datagram */

/* wt_open_any opens a socket for a gateway that is still to be found in the network. Call
 * wt_found when wt_done is told 'r' and WT_OK. */
static __attribute__((unused)) int wt_open_any(const char *port) {
	int yes = 1;
	wt_everybody.sin_family = AF_INET;
	wt_everybody.sin_port = htons((uint16_t)atoi(port));
	wt_everybody.sin_addr.s_addr = INADDR_BROADCAST;
	wt_socket = socket(AF_INET, SOCK_DGRAM, 0);
	if (wt_socket < 0 || setsockopt(wt_socket, SOL_SOCKET, SO_BROADCAST, &yes, sizeof yes)) return -1;
	return fcntl(wt_socket, F_SETFL, O_NONBLOCK);
}
static __attribute__((unused)) void wt_found(void) {
	if (wt_everybody.sin_port) wt_gateway = wt_last;
}

/* wt_open opens the socket to the gateway. It returns 0, or -1 if the host is not known or
 * no socket is left. */
static __attribute__((unused)) int wt_open(const char *host, const char *port) {
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
	socklen_t size = sizeof wt_last;
	ssize_t n = recvfrom(wt_socket, more, sizeof more, 0, (struct sockaddr *)&wt_last, &size);
	if (n <= 0 || n > WT_BUFFER) return 0;
	memcpy(to, more, (size_t)n);
	return (wt_size)n;
}

WT_API void wt_transmit(const uint8_t *frame, wt_size n) {
	const struct sockaddr_in *to = *frame == 'r' ? &wt_everybody : &wt_gateway;
	ssize_t sent;
	if (wt_everybody.sin_port) sent = sendto(wt_socket, frame, n, 0, (const struct sockaddr *)to, sizeof *to);
	else sent = send(wt_socket, frame, n, 0);
	(void)sent; /* what fails is as lost on the way: it is repeated */
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
