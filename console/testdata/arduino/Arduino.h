// The parts of Arduino's core that the page's sketch uses, on a computer: so that a test runs
// the sketch as it is.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <chrono>
#include <iostream>
#include <thread>

inline unsigned long millis() {
  static const auto start = std::chrono::steady_clock::now();
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start).count();
}

inline void delay(unsigned long ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

struct SerialPort {
  void begin(unsigned long) {}
  void println(const char *text = "") { std::cout << text << std::endl; }
  size_t write(const uint8_t *data, size_t size) {
    std::cout.write(reinterpret_cast<const char *>(data), size);
    return size;
  }
};
static SerialPort Serial;

void setup();
void loop();

int main() {
  setup();
  while (true) {
    loop();
    delay(2);
  }
}
