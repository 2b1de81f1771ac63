package gateway_test

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

// ofThePage returns the channels of a file that the page of channel maps shows.
func ofThePage(t *testing.T, name string) map[uint32]config.Channel {
	t.Helper()
	m := regexp.MustCompile("(?ms)^```yaml\n# " + regexp.QuoteMeta(name) + "\n(.*?)^```$").FindStringSubmatch(text(t, "docs/channel-maps.md"))
	require.NotNil(t, m, "the page shows no %s", name)
	file := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(file, []byte(m[1]), 0o600))
	c, _, err := config.Load(nil, []string{"HOME=/"}, file)
	require.NoError(t, err)
	return c.Channels
}

// The page's examples do what it says: publishes is what a device of the kind publishes, and hears
// what a member of the channel hears; says is what a basic frame over UDP says, and gets what
// the device gets.
func TestTheExamplesOfChannelMaps(t *testing.T) {
	t.Parallel()
	type crossing struct{ topic, payload, other string }
	for name, example := range map[string]struct {
		channel         uint32
		publishes, says []crossing
	}{
		"maps.yaml": {5, []crossing{{"zigbee2mqtt/hall/action", "single", "single"}}, []crossing{{"cmnd/valve/POWER", "ON", "1"}, {"cmnd/valve/POWER", "OFF", "0"}}},
		"zigbee2mqtt.yaml": {5, []crossing{
			{"zigbee2mqtt/button", `{"action":"double","battery":80,"linkquality":120}`, "double"}, {"zigbee2mqtt/button", `{"battery":80}`, ""}, {"zigbee2mqtt/button", `{"action":""}`, ""},
			{"zigbee2mqtt/door", `{"contact":false}`, "open"}, {"zigbee2mqtt/door", `{"contact":true,"battery":80}`, "shut"},
		}, []crossing{{"zigbee2mqtt/plug/set", `{"state": "ON"}`, "1"}, {"zigbee2mqtt/plug/set", `{"state": "OFF"}`, "0"}}},
		"tasmota.yaml": {6, []crossing{
			{"stat/valve/POWER", "ON", "open"}, {"stat/valve/POWER", "OFF", "closed"}, {"stat/valve/RESULT", `{"POWER":"ON"}`, ""},
			{"stat/desk/RESULT", `{"Button1":{"Action":"SINGLE"}}`, "desk SINGLE"}, {"tele/valve/LWT", "Online", "the valve is Online"},
		}, []crossing{{"cmnd/valve/POWER", "ON", "open"}, {"cmnd/valve/POWER", "OFF", "close"}}},
		"esphome.yaml": {7, []crossing{
			{"hall/binary_sensor/motion/state", "ON", "motion"}, {"hall/binary_sensor/motion/state", "OFF", ""}, {"attic/sensor/temperature/state", "21.50", "attic 21.50 °C"},
		}, []crossing{{"attic/text/display/command", "somebody: hello", "hello"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			channels := ofThePage(t, name)
			r := start(t, func(c *config.Config) { c.Channels = channels })
			device := r.outside("device")
			heard := r.heardOn(channelText(example.channel))
			for _, c := range example.publishes {
				device.says(c.topic, c.payload, true)
				if c.other != "" {
					assert.Equal(t, received{uint32(r.mapID()), example.channel, false, c.other}, line(t, []byte(heard())))
				}
			}
			arduino := r.basicOn(example.channel)
			for _, c := range example.says {
				plug := r.outside("plug", c.topic)
				arduino(c.other)
				assert.Equal(t, c.topic+" "+c.payload, plug.next())
				plug.Disconnect(uint(time.Second.Milliseconds()))
			}
		})
	}
}

func channelText(n uint32) string { return strconv.FormatUint(uint64(n), 10) }

// basicOn joins a channel by basic frames over UDP, and returns how to say something there.
func (r *running) basicOn(channel uint32) (say func(text string)) {
	conn, err := net.Dial("udp", r.at.UDP)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { conn.Close() })
	id := joinByHand(r.t, conn)
	_, err = conn.Write(basicFrame("J", id, channel))
	require.NoError(r.t, err)
	_, err = conn.Read(make([]byte, 100))
	require.NoError(r.t, err)
	return func(text string) {
		_, err := conn.Write(basicFrame("M", id, channel, uint32(len(text)), text))
		require.NoError(r.t, err)
	}
}
