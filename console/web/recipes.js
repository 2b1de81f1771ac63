// What one has to run to say the first word, for each kind of client. Each recipe is a list of
// steps, [what it does, code], for a place: {http, host, mqtt, udp, channel, key}; undefined
// where the gateway does not listen for it.

// shell quotes a text for a shell.
const shell = text => "'" + text.replaceAll("'", `'\\''`) + "'"

export const recipes = {
  curl: {
    title: "curl",
    steps: w => w.http && [
      ["Register. The answer is a token, which says who you are from now on.", `TOKEN=$(curl -s ${w.http}/register -H 'Content-Type: application/json' \\
  -d ${shell(JSON.stringify({ secret_key: w.key, name: "my-laptop" }))} | sed 's/.*"token":"\\([^"]*\\)".*/\\1/')`],
      ["Join the channel, and hear what is said there.", `curl -sN -H "Authorization: Bearer $TOKEN" '${w.http}/channels/join?channels=${w.channel}' &
sleep 1`],
      ["Say something to everybody on it.", `curl -s -H "Authorization: Bearer $TOKEN" ${w.http}/broadcast \\
  -H 'Content-Type: application/json' -d '{"channels":[${w.channel}],"message":"hello from curl"}'`],
    ],
  },
  mqtt: {
    title: "MQTT",
    steps: w => w.mqtt && [
      ["Hear what is said. The client id is your name.", `mosquitto_sub -h ${w.host} -p ${w.mqtt} -i my-ears -u any -P ${shell(w.key)} -v \\
  -t 'watchtower/channels/${w.channel}/#' &`],
      ["Say something.", `mosquitto_pub -h ${w.host} -p ${w.mqtt} -i my-voice -u any -P ${shell(w.key)} \\
  -t watchtower/channels/${w.channel}/broadcast -m 'hello from mosquitto'`],
    ],
  },
  arduino: {
    title: "Arduino",
    steps: w => w.udp && [["A whole sketch for an ESP8266 or ESP32. It joins the channel, says something every ten seconds, and prints what it hears.", sketch(w)]],
    note: "These small frames have no name: the gateway gives the device an id, and another one after two minutes of silence. A device that is to be missed by its name speaks session frames: see New device in Devices.",
  },
  javascript: {
    title: "JavaScript",
    steps: w => w.http && [
      ["In a module of a page, or in the developer tools of this one.", `const { connect } = await import("${w.http}/watchtower.js")
const w = await connect("${w.http}", { key: ${JSON.stringify(w.key)}, name: "my-page" })
await w.join([${w.channel}], m => console.log(m))
await w.broadcast([${w.channel}], { hello: "from JavaScript" })`],
    ],
    note: "A page of another address may do this if http.cors_origins lists it. It should not know the secret key: give it a short token.",
  },
}

const sketch = w => `#ifdef ESP32
#include <WiFi.h>
#else
#include <ESP8266WiFi.h>
#endif
#include <WiFiUdp.h>

const char *gateway = "${w.host}";
const uint16_t port = ${w.udp};
const char key[] = ${JSON.stringify(w.key)};
const uint32_t channel = ${w.channel};

WiFiUDP udp;
uint8_t in[512];
uint32_t id = 0;             // 0: not registered
bool joined = false;
unsigned long asked = 0;     // when the gateway was asked last
unsigned long said = 0;

void number(uint32_t n) {    // all numbers are little-endian
  for (int i = 0; i < 4; i++) udp.write((uint8_t)(n >> (8 * i)));
}

uint32_t numberAt(const uint8_t *b) {
  return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

void ask() {                 // register, then join, then say that we are here
  asked = millis();
  udp.beginPacket(gateway, port);
  if (!id) {
    udp.write((uint8_t)'K');
    udp.write((uint8_t)(sizeof key - 1));
    udp.write((const uint8_t *)key, sizeof key - 1);
  } else {
    udp.write((uint8_t)(joined ? 'P' : 'J'));
    number(id);
    if (!joined) number(channel);
  }
  udp.endPacket();
}

void say(const char *text) {
  udp.beginPacket(gateway, port);
  udp.write((uint8_t)'M');
  number(id);
  number(channel);
  number(strlen(text));
  udp.write((const uint8_t *)text, strlen(text));
  udp.endPacket();
}

void hear(int n) {
  if (n == 1 && in[0] == 'E') {        // unknown, or a wrong key: begin again
    id = 0;
    joined = false;
    Serial.println("refused");
  } else if (n == 5 && in[0] == 'A') { // the answer to what was asked
    if (!id) id = numberAt(in + 1);
    else if (numberAt(in + 1) == channel) joined = true;
    if (!joined) ask();
  } else if (n >= 15 && in[0] == 'M') { // sender, channel, type, length, text
    Serial.write(in + 15, n - 15);
    Serial.println();
  }
}

void setup() {
  Serial.begin(115200);
  WiFi.begin("your network", "its password");
  while (WiFi.status() != WL_CONNECTED) delay(100);
  udp.begin(port);
}

void loop() {
  if (millis() - asked > (joined ? 25000UL : 1000UL)) ask();
  if (joined && (!said || millis() - said > 10000UL)) {
    said = millis();
    say("hello from an Arduino");
  }
  if (udp.parsePacket()) hear(udp.read(in, sizeof in));
}`
