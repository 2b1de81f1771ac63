// The sketch that runs on the simulated processor. It joins channel 5, says numbers there,
// each when the one before is done, and tells what it hears. It tells by GPIOR1.
#include <avr/sleep.h>
#define WATCHTOWER_SHARED_KEY
#ifdef SENSOR
#define WATCHTOWER_BUFFER 80
#include <WatchtowerSensor.h>
#else
#define WATCHTOWER_NO_ECHO
#include <Watchtower.h>
#endif
#include <WatchtowerSerial.h>

const unsigned char device_key[16] PROGMEM = {0x31, 0x91, 0x55, 0x10, 0x1a, 0x72, 0x60, 0x1f, 0x81, 0x64, 0xb4, 0xcf, 0xe9, 0x3c, 0x20, 0xa2};

WatchtowerSerial line(Serial);
Watchtower wt(line, "simulated", device_key);

char text[16];
unsigned number = 0;
bool said = true;

static void tell(const uint8_t *s, uint8_t n) {
	for (uint8_t i = 0; i < n; i++) GPIOR1 = s[i];
	GPIOR1 = '\n';
}

#ifndef SENSOR
void heard(const WatchtowerMessage &m) { tell(m.data(), m.size()); }
#endif

void done(uint8_t op, uint8_t code) {
	uint8_t s[4] = {'!', op, (uint8_t)('0' + code / 10), (uint8_t)('0' + code % 10)};
	if (op != 'p' || code) tell(s, 4);
	if (op == 'b') said = true;
}

void setup() {
	Serial.begin(115200);
#ifndef SENSOR
	wt.onMessage(heard);
#endif
	wt.onDone(done);
	wt.join(5);
	wt.begin(IPAddress(0, 0, 0, 0));
}

void loop() {
	wt.loop();
	if (said && number < NUMBERS && wt.ready()) {
		utoa(number + 1, text, 10);
		if (!wt.broadcast(5, text)) {
			said = false;
			number++;
		}
	}
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
