package gateway_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the sketch of docs/for-makers.md includes: the class has the calls of PubSubClient 2.8, and
// prints what it was told. Pins print what they were set to.
const (
	stubWiFi = `#pragma once
#include <stdint.h>
#include <stdio.h>
#include <string.h>
typedef uint8_t byte;
typedef bool boolean;
enum { D1 = 5, OUTPUT, HIGH, LOW, WL_CONNECTED };
struct WiFiClient {};
struct { void begin(const char *, const char *) {} int status() { return WL_CONNECTED; } } WiFi;
inline void pinMode(int, int) {}
inline void delay(int) {}
inline void digitalWrite(int, int to) { puts(to == HIGH ? "HIGH" : "LOW"); }
`
	stubPubSubClient = `#pragma once
struct PubSubClient {
  void (*hears)(char *, uint8_t *, unsigned int);
  PubSubClient(WiFiClient &) {}
  void setServer(const char *, uint16_t port) { printf("port %u\n", port); }
  void setCallback(void (*f)(char *, uint8_t *, unsigned int)) { hears = f; }
  boolean connected() { return false; }
  boolean connect(const char *id, const char *user, const char *pass, const char *will, uint8_t qos, boolean retain, const char *said, boolean clean) {
    printf("connect %s\nuser %s\nwill %s\nqos %d\nretain %d\nsaid %s\nclean %d\n", id, user, will, qos, retain, said, clean);
    return pass[0];
  }
  boolean subscribe(const char *filter, uint8_t qos) { printf("subscribe %s\nat %d\n", filter, qos); return true; }
  boolean publish(const char *topic, const char *text) { printf("publish %s\ntext %s\n", topic, text); return true; }
  boolean loop() { return true; }
};
`
	stubMain = `
int main(int, char **said) {
  setup();
  loop();
  for (char topic[] = "t"; *++said;) mqtt.hears(topic, (byte *)*said, strlen(*said));
}
`
)

// The sketch for PubSubClient is a valve: it is told what is sent to it, also what was sent while it
// was away, and none of the chatter.
func TestTheSketchOfTheGuideIsAValve(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, code := range map[string]string{
		"ESP8266WiFi.h": stubWiFi, "PubSubClient.h": stubPubSubClient,
		"sketch.cpp": block(t, text(t, "docs/for-makers.md"), "```cpp\n", "```\n") + stubMain,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(code), 0o600))
	}
	sketch := filepath.Join(dir, "sketch")
	out, err := exec.Command(program(t, "g++"), "-I"+dir, "-o", sketch, sketch+".cpp").CombinedOutput()
	require.NoError(t, err, "%s", out)
	said, err := exec.Command(sketch, "open", "opened", "close").Output()
	require.NoError(t, err)
	all, pins, _ := strings.Cut(string(said), "HIGH\n")
	assert.Equal(t, "LOW\n", pins, "it opens and closes by these words alone")
	does := map[string]string{}
	for line := range strings.Lines(all) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		does[key] = value
	}
	for key, value := range map[string]string{"port": "1883", "qos": "1", "retain": "0", "clean": "0", "at": "1"} {
		assert.Equal(t, value, does[key], key)
	}

	r := start(t, nil)
	heard := make(chan string, 10)
	connect := func() paho.Client {
		c, err := r.pahoClient(func(o *paho.ClientOptions) {
			o.SetProtocolVersion(4).SetClientID(does["connect"]).SetUsername(does["user"]).SetCleanSession(false)
			o.SetWill(does["will"], does["said"], 1, false)
			o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { heard <- string(m.Payload()) })
		})
		require.NoError(t, err)
		require.NoError(t, wait(c.Subscribe(does["subscribe"], 1, nil)))
		require.NoError(t, wait(c.Publish(does["publish"], 0, false, does["text"])))
		return c
	}
	next := func() string {
		t.Helper()
		select {
		case text := <-heard:
			return text
		case <-time.After(patient):
			require.Fail(t, "the valve is told nothing")
			return ""
		}
	}
	d := r.stream()
	valve := connect()
	for d.next(t).data != "hose: here" {
	}
	r.say(d.id, "chatter")
	r.post("/send", fmt.Sprintf(`{"sender":%d,"channels":[5],"receivers":["hose"],"message":"open"}`, d.id), nil)
	assert.Equal(t, "open", next())
	valve.Disconnect(0)
	r.post("/send", fmt.Sprintf(`{"sender":%d,"channels":[5],"receivers":["hose"],"message":"close"}`, d.id), nil)
	connect()
	again := next()
	for again == "open" { // its acknowledgement may be lost with the connection
		again = next()
	}
	assert.Equal(t, "close", again)
}
