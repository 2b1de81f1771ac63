// A soil sensor that says how wet the soil is, and sleeps for eight minutes. Its session
// lives on meanwhile, because its keep-alive is an hour.
//
// Wiring: an Arduino Uno or Pro Mini and a radio module with a serial line at pins 0 and 1
// (the other end passes datagrams to the gateway: SLIP). The sensor's output is at A0.
//
// There is no Serial Monitor, because the radio has the serial line. On the gateway,
// `watchtower join 5` prints a line every eight minutes:
//
//   512

#include <avr/sleep.h>
#include <avr/wdt.h>
#define WATCHTOWER_KEEPALIVE 3600
#define WATCHTOWER_BUFFER 80
#include <WatchtowerSensor.h>
#include <WatchtowerSerial.h>

// `watchtower device key soil` prints this line.
const unsigned char device_key[16] PROGMEM = {0x31, 0x91, 0x55, 0x10, 0x1a, 0x72, 0x60, 0x1f, 0x81, 0x64, 0xb4, 0xcf, 0xe9, 0x3c, 0x20, 0xa2};

const uint32_t CHANNEL = 5;
const unsigned long LONGEST = 20000; // ms that it waits for an answer
const uint8_t NAPS = 60;             // of eight seconds

WatchtowerSerial line(Serial);
Watchtower wt(line, "soil", device_key);

char text[16]; // global: it has to stay until the gateway answers
bool asked = false, over = false;
unsigned long woke = 0;

void done(uint8_t op, uint8_t) {
  if (op == 'b') over = true;
}

ISR(WDT_vect) {}

void nap() {
  MCUSR = 0;
  cli();
  wdt_reset();
  WDTCSR = _BV(WDCE) | _BV(WDE);
  WDTCSR = _BV(WDIE) | _BV(WDP3) | _BV(WDP0); // an interrupt in eight seconds
  set_sleep_mode(SLEEP_MODE_PWR_DOWN);
  sleep_enable();
  sei();
  sleep_cpu();
  sleep_disable();
  wdt_disable();
}

void setup() {
  Serial.begin(38400);
  wt.onDone(done);
  wt.join(CHANNEL);
  wt.begin(IPAddress(0, 0, 0, 0)); // the radio knows where
}

void loop() {
  wt.loop();
  if (!asked && wt.ready()) {
    itoa(analogRead(A0), text, 10);
    asked = wt.broadcast(CHANNEL, text) == WT_OK;
  }
  if (!over && millis() - woke < LONGEST) return;
  Serial.flush();
  for (uint8_t i = 0; i < NAPS; i++) nap();
  asked = over = false;
  woke = millis();
}
