// The UDP of a board on a PC. Its network is the socket at a port of this machine, where each
// datagram has its other end's address before it.
#ifndef WiFiUdp_h
#define WiFiUdp_h
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <Arduino.h>
#include <Udp.h>

static int townPort; // of the network

class WiFiUDP : public UDP {
public:
	uint8_t begin(uint16_t) override {
		struct sockaddr_in to = {};
		to.sin_family = AF_INET;
		to.sin_port = htons((uint16_t)townPort);
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
	uint16_t remotePort() override { return 3033; }
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
#endif
