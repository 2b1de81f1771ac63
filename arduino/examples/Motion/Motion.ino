// A motion sensor for an alarm that two have to agree on. One sensor is wrong at times: a cat, the
// sun. The gateway's channel has a rule (docs/confirm.md) and waits for the second one.
//
// Wiring: an Arduino Uno with an Ethernet shield (W5100 or W5500), and a motion sensor such as
// HC-SR501: OUT to pin 2, VCC to 5V, GND to GND. It needs a minute after power comes on.
//
// The gateway: `watchtower --config examples/launch/launch.yaml`. Each sensor is this sketch with a
// NAME, a device_key and a mac of its own. Serial Monitor, 9600 baud, after a start and a movement:
//
//   hall: connected
//   hall: motion
//   hall: said
//
// `watchtower join 8 --name siren` shows "motion" once the second sensor has said it.

#include <Ethernet.h>
#include <EthernetUdp.h>
#define WATCHTOWER_FIND // it finds the gateway
#include <WatchtowerSensor.h>

#define NAME "hall"
// `watchtower device key hall` prints this line.
const unsigned char device_key[16] PROGMEM = {0x31, 0x91, 0x55, 0x10, 0x1a, 0x72, 0x60, 0x1f, 0x81, 0x64, 0xb4, 0xcf, 0xe9, 0x3c, 0x20, 0xa2};

byte mac[] = {0x02, 0x00, 0x00, 0x00, 0x00, 0x06}; // another for each device
const uint32_t CHANNEL = 8;
const uint8_t PIN = 2;
const unsigned long AGAIN = 4ul * 1000; // ms until it says so again while somebody moves on

EthernetUDP udp;
Watchtower wt(udp, NAME, device_key);

bool said = false; // of this movement
unsigned long saidAt = 0;

void done(uint8_t op, uint8_t code) {
  if (op == 'j' && code == WT_OK) Serial.println(F(NAME ": connected"));
  if (op == 'b' && code == WT_OK) Serial.println(F(NAME ": said"));
  if (code != WT_OK && code != WT_LOST) {
    Serial.print(F(NAME ": refused, code "));
    Serial.println(code);
  }
}

void setup() {
  Serial.begin(9600);
  pinMode(PIN, INPUT);
  Ethernet.begin(mac);
  wt.onDone(done);
  wt.join(CHANNEL);
  if (!wt.begin()) Serial.println(F(NAME ": no socket is left"));
}

void loop() {
  wt.loop();
  if (digitalRead(PIN) == LOW) {
    said = false; // what could not be said in time is no alarm
    return;
  }
  if (!wt.ready() || (said && millis() - saidAt < AGAIN)) return;
  if (!said) Serial.println(F(NAME ": motion"));
  said = wt.broadcast(CHANNEL, "motion") == WT_OK; // all sensors say the same bytes
  saidAt = millis();
}
