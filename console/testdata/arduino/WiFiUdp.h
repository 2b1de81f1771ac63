// Datagrams, over a socket of the computer.
#pragma once
#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <vector>

class WiFiUDP {
  int socket_ = -1;
  sockaddr_in to_ = {};
  std::vector<uint8_t> out_, in_;

 public:
  uint8_t begin(uint16_t) { // any port: on one computer the gateway has the named one
    socket_ = socket(AF_INET, SOCK_DGRAM, 0);
    fcntl(socket_, F_SETFL, O_NONBLOCK);
    return socket_ >= 0;
  }
  int beginPacket(const char *host, uint16_t port) {
    out_.clear();
    to_.sin_family = AF_INET;
    to_.sin_port = htons(port);
    return inet_pton(AF_INET, host, &to_.sin_addr);
  }
  size_t write(uint8_t b) {
    out_.push_back(b);
    return 1;
  }
  size_t write(const uint8_t *data, size_t size) {
    out_.insert(out_.end(), data, data + size);
    return size;
  }
  int endPacket() {
    return sendto(socket_, out_.data(), out_.size(), 0, reinterpret_cast<sockaddr *>(&to_), sizeof to_) >= 0;
  }
  int parsePacket() {
    in_.resize(1500);
    ssize_t n = recv(socket_, in_.data(), in_.size(), 0);
    in_.resize(std::max<ssize_t>(n, 0));
    return in_.size();
  }
  int read(uint8_t *data, size_t size) {
    size_t n = std::min(size, in_.size());
    std::copy_n(in_.begin(), n, data);
    return n;
  }
};
