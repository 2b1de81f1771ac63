// Two Arduinos that talk to each other: one counts, the other answers it alone. Set ROLE
// before you write the sketch into each.
//
// Wiring: two Arduino Unos with Ethernet shields.
//
// Serial Monitor of the one that counts, 9600 baud:
//
//   count: connected
//   count: 1
//   count: heard 1
//   count: 2
//   count: heard 2

#include <Ethernet.h>
#include <EthernetUdp.h>
#define WATCHTOWER_NO_ECHO
#include <Watchtower.h>

enum { COUNT, ANSWER };
const uint8_t ROLE = COUNT;

// `watchtower device key count` and `watchtower device key answer` print these lines.
const unsigned char count_key[16] PROGMEM = {0x31, 0x91, 0x55, 0x10, 0x1a, 0x72, 0x60, 0x1f, 0x81, 0x64, 0xb4, 0xcf, 0xe9, 0x3c, 0x20, 0xa2};
const unsigned char answer_key[16] PROGMEM = {0x31, 0x91, 0x55, 0x10, 0x1a, 0x72, 0x60, 0x1f, 0x81, 0x64, 0xb4, 0xcf, 0xe9, 0x3c, 0x20, 0xa2};

byte mac[] = {0x02, 0x00, 0x00, 0x00, 0x00, 0x04 + ROLE};
IPAddress gateway(192, 168, 1, 10);
const uint32_t CHANNEL = 6;

EthernetUDP udp;
Watchtower wt(udp, ROLE == COUNT ? "count" : "answer", ROLE == COUNT ? count_key : answer_key);

char text[12];          // global: it has to stay until the gateway answers
uint32_t answerTo = 0;  // who is to be answered
unsigned long last = 0; // when it counted
unsigned number = 0;

void heard(const WatchtowerMessage &m) {
  if (ROLE == COUNT) Serial.print(F("count: heard "));
  Serial.write(m.data(), m.size());
  Serial.println();
  if (ROLE == ANSWER && m.size() < sizeof text && wt.ready()) {
    memcpy(text, m.data(), m.size());
    text[m.size()] = 0;
    answerTo = m.sender();
  }
}

void done(uint8_t op, uint8_t code) {
  if (op == 'j' && code == WT_OK) Serial.println(ROLE == COUNT ? F("count: connected") : F("answer: connected"));
}

void setup() {
  Serial.begin(9600);
  Ethernet.begin(mac);
  wt.onMessage(heard);
  wt.onDone(done);
  wt.join(CHANNEL);
  wt.begin(gateway);
}

void loop() {
  wt.loop();
  if (!wt.ready()) return;
  if (ROLE == COUNT && millis() - last > 2000) {
    last = millis();
    utoa(++number, text, 10);
    Serial.print(F("count: "));
    Serial.println(text);
    wt.broadcast(CHANNEL, text);
  }
  if (answerTo) {
    if (wt.send(CHANNEL, answerTo, text) == WT_OK) answerTo = 0;
  }
}
