// A display that shows what is said on channel 5.
//
// Wiring: an Arduino Uno with an Ethernet shield, and a display of 2 x 16 characters
// (HD44780): RS 8, E 9, D4 to D7 at 4, 5, 6, 7 and R/W at GND. Pins 10 to 13 are the
// shield's.
//
// Serial Monitor, 9600 baud, after `watchtower broadcast 5 hello`:
//
//   display: connected
//   display: hello

#include <Ethernet.h>
#include <EthernetUdp.h>
#include <LiquidCrystal.h>
#define WATCHTOWER_NO_ECHO
#define WATCHTOWER_FIND // it finds the gateway
#include <Watchtower.h>

// `watchtower device key display` prints this line.
const unsigned char device_key[16] PROGMEM = {0x31, 0x91, 0x55, 0x10, 0x1a, 0x72, 0x60, 0x1f, 0x81, 0x64, 0xb4, 0xcf, 0xe9, 0x3c, 0x20, 0xa2};

byte mac[] = {0x02, 0x00, 0x00, 0x00, 0x00, 0x03};
const uint32_t CHANNEL = 5;

EthernetUDP udp;
Watchtower wt(udp, "display", device_key);
LiquidCrystal lcd(8, 9, 4, 5, 6, 7);

void heard(const WatchtowerMessage &m) {
  lcd.clear();
  lcd.write(m.data(), m.size() < 16 ? m.size() : 16);
  Serial.print(F("display: "));
  Serial.write(m.data(), m.size());
  Serial.println();
}

void done(uint8_t op, uint8_t code) {
  if (op == 'j' && code == WT_OK) Serial.println(F("display: connected"));
}

void setup() {
  Serial.begin(9600);
  lcd.begin(16, 2);
  Ethernet.begin(mac);
  wt.onMessage(heard);
  wt.onDone(done);
  wt.join(CHANNEL);
  wt.begin();
}

void loop() { wt.loop(); }
