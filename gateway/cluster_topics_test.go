package gateway_test

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// lines are those that were heard so far.
func (h *heardLines) lines() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.all...)
}

// mosquittoSub has mosquitto_sub hear, in MQTT 5, until the test ends. It is subscribed when this
// returns. A line has topic, payload, QoS, retain flag, and the properties.
func (r *running) mosquittoSub(args ...string) *heardLines {
	r.t.Helper()
	connect := r.mosquittoArgs()
	args = append(append(connect[:len(connect)-2], "-V", "mqttv5", "-q", "2", "-t", "watchtower/me", "--retain-as-published", "-F", "%t %p %q %r %C %R %D %F %P"), args...)
	sub := exec.Command(program(r.t, "mosquitto_sub"), args...)
	out, err := sub.StdoutPipe()
	require.NoError(r.t, err)
	require.NoError(r.t, sub.Start())
	h := &heardLines{}
	var reading sync.WaitGroup
	subscribed := make(chan struct{})
	reading.Go(func() {
		once := sync.OnceFunc(func() { close(subscribed) })
		defer once()
		for in := bufio.NewScanner(out); in.Scan(); {
			if strings.HasPrefix(in.Text(), "watchtower/me ") {
				once()
			} else {
				h.add(in.Bytes())
			}
		}
	})
	r.t.Cleanup(func() { _ = sub.Process.Kill(); reading.Wait(); _ = sub.Wait() })
	<-subscribed
	return h
}

func (r *running) mosquittoPub(args ...string) {
	r.t.Helper()
	connect := r.mosquittoArgs()
	run(r.t, program(r.t, "mosquitto_pub"), append(connect[:len(connect)-2], append([]string{"-V", "mqttv5"}, args...)...)...)
}

// What a client publishes on a topic of its own is heard at every gateway once, with all that
// MQTT 5 says of it.
func TestOwnTopicsReachEveryGateway(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	a, b, c := together(t, servers.URL(), "a", nil), together(t, servers.URL(), "b", nil), together(t, servers.URL(), "c", nil)
	for _, pair := range [][2]*running{{a, b}, {a, c}, {b, c}} {
		meet(t, pair[0], pair[1])
	}
	filters := []string{"-t", "tele/#", "-t", "+/lamp/STATE", "-t", "$share/g/shared"}
	atA, atB, atC := a.mosquittoSub(filters...), b.mosquittoSub(filters...), c.mosquittoSub(filters...)
	a.mosquittoPub("-t", "tele/lamp/STATE", "-m", "on", "-q", "2", "-r", "-D", "publish", "content-type", "text/plain", "-D", "publish", "response-topic", "answer",
		"-D", "publish", "correlation-data", "7", "-D", "publish", "payload-format-indicator", "1", "-D", "publish", "user-property", "k", "v", "-D", "publish", "message-expiry-interval", "60")
	b.mosquittoPub("-t", "tele/a.b/c d/*/>/ä//", "-m", "odd")
	for i := range 20 {
		c.mosquittoPub("-t", "tele/n", "-m", fmt.Sprint(i), "-q", "1")
	}
	for _, h := range []*heardLines{atA, atB, atC} {
		eventually(t, "all is heard", func() bool { return h.has("tele/n 19") && h.has("odd") && h.has("lamp") })
		var own []string
		for _, line := range h.lines() {
			if strings.HasPrefix(line, "tele/n ") {
				own = append(own, strings.Fields(line)[1])
				continue
			}
			if strings.Contains(line, "lamp") {
				assert.Equal(t, "tele/lamp/STATE on 2 1 text/plain answer 7 1 k:v", line)
			} else {
				assert.True(t, strings.HasPrefix(line, "tele/a.b/c d/*/>/ä// odd 0 0"), line)
			}
		}
		assert.Len(t, h.lines(), 22, "each once")
		for i, n := range own {
			assert.Equal(t, fmt.Sprint(i), n)
		}
	}
	_, metrics := b.call("GET", "/metrics", "", "")
	assert.Contains(t, metrics, `watchtower_peer_messages_total{gateway="a"} 1`)
	assert.Contains(t, metrics, `watchtower_peer_messages_total{gateway="c"} 20`)
}

// A will is heard at every gateway; what the gateways say of themselves stays there.
func TestWillsReachEveryGateway(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	a, b := together(t, servers.URL(), "a", nil), together(t, servers.URL(), "b", nil)
	meet(t, a, b)
	atB := b.mosquittoSub("-t", "tele/+/LWT", "-t", "watchtower/gateways/#")
	_, err := a.pahoClient(func(o *paho.ClientOptions) { o.SetWill("tele/plug/LWT", "Offline", 1, false) })
	require.NoError(t, err)
	_, err = a.pahoClient(nil) // takes over
	require.NoError(t, err)
	eventually(t, "the will is heard", func() bool { return atB.has("tele/plug/LWT Offline") })
	assert.False(t, atB.has("gateways/a/"))
}
