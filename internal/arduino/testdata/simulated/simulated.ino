// The sketch that runs on the simulated processor. It joins channel 5, says numbers there,
// each when the one before is done, and PAUSE ms later, and tells what it hears. It tells by
// GPIOR1.
//
//   SENSOR, BASIC  the other two sizes; with BASIC a number is done when it is heard
//   SLEEP          after its numbers it sleeps, with its radio off, until GPIOR0 is set; then it
//                  pings
#include <avr/sleep.h>
#ifndef PAUSE
#define PAUSE 1ul
#endif
#define WATCHTOWER_SHARED_KEY
#ifdef BASIC
#include <WatchtowerBasic.h>
#elif defined(SENSOR)
#define WATCHTOWER_BUFFER 80
#include <WatchtowerSensor.h>
#else
#define WATCHTOWER_NO_ECHO
#include <Watchtower.h>
#endif
#include <WatchtowerSerial.h>

#ifdef BASIC
const char secret[] PROGMEM = "correct horse battery staple";
#else
const unsigned char device_key[16] PROGMEM = {0x31, 0x91, 0x55, 0x10, 0x1a, 0x72, 0x60, 0x1f, 0x81, 0x64, 0xb4, 0xcf, 0xe9, 0x3c, 0x20, 0xa2};

#endif

WatchtowerSerial line(Serial);
#ifdef BASIC
Watchtower wt(line, secret);
#else
Watchtower wt(line, "simulated", device_key);
#endif

char text[16];
unsigned number = 0;
unsigned long last = 0;
bool said = true, asleep = false;

static void tell(const uint8_t *s, uint8_t n) {
	for (uint8_t i = 0; i < n; i++) GPIOR1 = s[i];
	GPIOR1 = '\n';
}

#ifndef SENSOR
void heard(const WatchtowerMessage &m) {
	tell(m.data(), m.size());
#ifdef BASIC
	if (m.is(text)) said = true;
#endif
}
#endif

void done(uint8_t op, uint8_t code) {
	uint8_t s[4] = {'!', op, (uint8_t)('0' + code / 10), (uint8_t)('0' + code % 10)};
#ifndef SLEEP
	if (op == 'p' && !code) return;
#endif
	tell(s, 4);
	if (op == 'b') said = true;
	if (op == 'd') asleep = true;
}

void setup() {
	Serial.begin(115200);
#ifndef SENSOR
	wt.onMessage(heard);
#endif
	wt.onDone(done);
	wt.join(5);
	wt.begin(IPAddress(192, 168, 1, 10));
}

static void speak() {
	if (asleep) {
		if (!GPIOR0) return;
		asleep = false;
		GPIOR0 = 0;
#ifdef SLEEP
		wt.ping();
#endif
	}
	wt.loop();
	if (!said || !wt.ready()) return;
	if (number < NUMBERS && millis() - last >= PAUSE) {
		last = millis();
		utoa(number + 1, text, 10);
		if (!wt.broadcast(5, text)) {
			said = false;
			number++;
		}
	}
#ifdef SLEEP
	if (number == NUMBERS && said) {
		number++;
		wt.sleep(3600);
	}
#endif
}

void loop() {
	speak();
	cli();
	if (!Serial.available()) {
		set_sleep_mode(SLEEP_MODE_IDLE);
		sleep_enable();
		sei();
		sleep_cpu();
		sleep_disable();
	}
	sei();
}
