// A button that opens and closes the valve of the example Valve.
//
// Wiring: an Arduino Uno with an Ethernet shield. The button connects pin 2 and GND.
//
// Serial Monitor, 9600 baud, after the button was pressed twice:
//
//   button: connected
//   button: open
//   button: done
//   button: close
//   button: done

#include <Ethernet.h>
#include <EthernetUdp.h>
#define WATCHTOWER_FIND // it finds the gateway
#include <Watchtower.h>

// `watchtower device key button` prints this line.
const unsigned char device_key[16] PROGMEM = {0x31, 0x91, 0x55, 0x10, 0x1a, 0x72, 0x60, 0x1f, 0x81, 0x64, 0xb4, 0xcf, 0xe9, 0x3c, 0x20, 0xa2};

byte mac[] = {0x02, 0x00, 0x00, 0x00, 0x00, 0x02};
const uint32_t CHANNEL = 5;
const uint8_t PIN = 2;

EthernetUDP udp;
Watchtower wt(udp, "button", device_key);

bool pressed = false, opening = false;
unsigned long changed = 0;

void done(uint8_t op, uint8_t code) {
  if (op == 'j' && code == WT_OK) Serial.println(F("button: connected"));
  if (op != 'b') return;
  if (code == WT_OK) {
    Serial.println(F("button: done"));
  } else if (code == WT_LOST) {
    Serial.println(F("button: perhaps; the gateway was away"));
  } else {
    Serial.print(F("button: refused, code "));
    Serial.println(code);
  }
}

void setup() {
  Serial.begin(9600);
  pinMode(PIN, INPUT_PULLUP);
  Ethernet.begin(mac);
  wt.onDone(done);
  wt.join(CHANNEL);
  wt.begin();
}

void loop() {
  wt.loop();
  bool now = digitalRead(PIN) == LOW;
  if (now == pressed || millis() - changed < 50) return; // 50 ms: contacts bounce
  changed = millis();
  pressed = now;
  if (!pressed) return;
  if (!wt.ready()) {
    Serial.println(F("button: not yet"));
    return;
  }
  opening = !opening;
  Serial.println(opening ? F("button: open") : F("button: close"));
  wt.broadcast(CHANNEL, opening ? "open" : "close"); // constants: they stay until it is done
}
