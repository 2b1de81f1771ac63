// A valve that is opened and closed by messages on channel 5, and says there whether it is open. It
// closes by itself when it hears nothing for ten minutes.
//
// Wiring: an Arduino Uno with an Ethernet shield (W5100 or W5500). The relay of the valve is at
// pin 7: IN to 7, VCC to 5V, GND to GND. For an ESP8266 or an ESP32 the library's README lists the
// lines that change.
//
// Serial Monitor, 9600 baud, after a start and "open" by
// `watchtower broadcast 5 open`:
//
//   valve: closed
//   valve: connected
//   valve: open
//   valve: closed, nothing heard for 10 minutes
//
// `watchtower join 5` shows the valve's id, too, which has up to ten digits:
//
//   20:00:12 #5 valve (1613356490): valve: closed
//   20:01:30 #5 valve (1613356490): valve: open
//   20:11:30 #5 valve (1613356490): valve: closed

#include <Ethernet.h>
#include <EthernetUdp.h>
#define WATCHTOWER_FIND    // it finds the gateway
#define WATCHTOWER_NO_ECHO // it does not hear itself
#include <Watchtower.h>

// `watchtower device key valve` prints this line.
const unsigned char device_key[16] PROGMEM = {0x31, 0x91, 0x55, 0x10, 0x1a, 0x72, 0x60, 0x1f, 0x81, 0x64, 0xb4, 0xcf, 0xe9, 0x3c, 0x20, 0xa2};

byte mac[] = {0x02, 0x00, 0x00, 0x00, 0x00, 0x01}; // another for each device
const uint32_t CHANNEL = 5;
const uint8_t PIN = 7;
const unsigned long LONGEST = 10ul * 60 * 1000; // ms without a message

EthernetUDP udp;
Watchtower wt(udp, "valve", device_key);

bool isOpen = false;
bool told = true; // the channel knows whether it is open
unsigned long lastHeard = 0;

void set(bool to, const __FlashStringHelper *why) {
  isOpen = to;
  told = false;
  digitalWrite(PIN, isOpen ? HIGH : LOW);
  Serial.println(why);
}

void heard(const WatchtowerMessage &m) {
  lastHeard = millis();
  if (m.is("open")) set(true, F("valve: open"));
  if (m.is("close")) set(false, F("valve: closed"));
}

void done(uint8_t op, uint8_t code) {
  if (op == 'j' && code == WT_OK) {
    Serial.println(F("valve: connected"));
    told = false;
  }
  if (op == 'r' && code != WT_OK) {
    Serial.print(F("valve: refused, code "));
    Serial.println(code);
  }
}

void setup() {
  Serial.begin(9600);
  pinMode(PIN, OUTPUT);
  set(false, F("valve: closed"));
  Ethernet.begin(mac);
  wt.onMessage(heard);
  wt.onDone(done);
  wt.join(CHANNEL);
  if (!wt.begin()) Serial.println(F("valve: no socket is left"));
}

void loop() {
  wt.loop();
  if (isOpen && millis() - lastHeard > LONGEST) set(false, F("valve: closed, nothing heard for 10 minutes"));
  if (!told && wt.ready()) told = wt.broadcast(CHANNEL, isOpen ? "valve: open" : "valve: closed") == WT_OK;
}
