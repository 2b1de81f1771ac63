// A valve of a garden, with the soil below it, which somebody opens to music (examples/garden has
// the conductor). Home Assistant shows both. The valve closes by itself when it hears nothing.
//
// Wiring: an Arduino Uno with an Ethernet shield (W5100 or W5500). The relay of the valve is at
// pin 7: IN to 7, VCC to 5V, GND to GND. The soil sensor's output is at A0.
//
// Serial Monitor, 9600 baud, after a start and `watchtower send 5 rose "tap open 3"`:
//
//   rose: closed
//   rose: connected
//   rose: open
//   rose: closed by itself

#include <Ethernet.h>
#include <EthernetUdp.h>
#define WATCHTOWER_FIND // it finds the gateway
#define WATCHTOWER_NO_ECHO
#define WATCHTOWER_BUFFER 160 // the description has to fit
#define WATCHTOWER_KEEPALIVE 10
#include <Watchtower.h>

// `watchtower device key rose` prints this line.
const unsigned char device_key[16] PROGMEM = {0x31, 0x91, 0x55, 0x10, 0x1a, 0x72, 0x60, 0x1f, 0x81, 0x64, 0xb4, 0xcf, 0xe9, 0x3c, 0x20, 0xa2};

byte mac[] = {0x02, 0x00, 0x00, 0x00, 0x00, 0x05}; // another for each device
const uint32_t CHANNEL = 5;
const uint8_t PIN = 7;
const long BY_HAND = 600;                    // seconds that it stays open after "tap open"
const long MOST = 3600;                      // seconds that "tap open 3600" may ask for
const unsigned long MEASURE = 10ul * 1000;   // ms between two looks at the soil
const char DESCRIPTION[] = "{\"name\":\"Rose\",\"sensors\":{\"soil\":{\"unit\":\"%\",\"device_class\":\"moisture\"}},\"valves\":{\"tap\":{}}}";

EthernetUDP udp;
Watchtower wt(udp, "rose", device_key);

bool isOpen = false;
unsigned long heardAt = 0, hold = 0, measuredAt = 0; // ms
int soil = 0;
bool describe = false, tell = false; // what is to be said
char state[32];                      // global: it has to stay until the gateway answers

void set(bool to, const __FlashStringHelper *why) {
  if (isOpen != to) Serial.println(why);
  isOpen = to;
  digitalWrite(PIN, isOpen ? HIGH : LOW);
  tell = true;
}

// heard takes "tap open 3", "tap open", "tap close" and "describe".
void heard(const WatchtowerMessage &m) {
  char text[16];
  if (m.size() >= sizeof text) return;
  memcpy(text, m.data(), m.size());
  text[m.size()] = 0;
  if (!strcmp(text, "describe")) describe = tell = true;
  if (!strcmp(text, "tap close")) set(false, F("rose: closed"));
  if (strncmp(text, "tap open", 8)) return;
  long seconds = text[8] == 0 ? BY_HAND : text[8] == ' ' ? atol(text + 9) : 0;
  if (seconds < 1 || seconds > MOST) return;
  heardAt = millis();
  hold = seconds * 1000ul;
  set(true, F("rose: open"));
}

void done(uint8_t op, uint8_t code) {
  if (op == 'j' && code == WT_OK) {
    Serial.println(F("rose: connected"));
    describe = tell = true;
  }
  if (op == 'r' && code != WT_OK) {
    Serial.print(F("rose: refused, code "));
    Serial.println(code);
  }
}

void setup() {
  Serial.begin(9600);
  pinMode(PIN, OUTPUT);
  digitalWrite(PIN, LOW);
  Serial.println(F("rose: closed"));
  Ethernet.begin(mac);
  wt.onMessage(heard);
  wt.onDone(done);
  wt.join(CHANNEL);
  if (!wt.begin()) Serial.println(F("rose: no socket is left"));
}

void loop() {
  wt.loop();
  if (isOpen && millis() - heardAt > hold) set(false, F("rose: closed by itself"));
  if (millis() - measuredAt > MEASURE) {
    measuredAt = millis();
    int now = (int)(analogRead(A0) * 100l / 1023); // per cent
    if (now != soil) tell = true;
    soil = now;
  }
  if (!wt.ready()) return;
  if (describe) {
    describe = wt.broadcast(CHANNEL, DESCRIPTION) != WT_OK;
  } else if (tell) {
    snprintf(state, sizeof state, "{\"tap\":\"%s\",\"soil\":%d}", isOpen ? "open" : "closed", soil);
    tell = wt.broadcast(CHANNEL, state) != WT_OK;
  }
}
