package gateway_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/mqtt/remote"
)

// pair are two gateways at one broker that announce one channel, and know one client of that
// broker. A device is on the channel at each.
type pair struct {
	t       testing.TB
	broker  *harness.Mosquitto
	cfgs    [2]config.Config
	at      [2]*running
	devices [2]*device
	house   paho.Client // speaks as Home Assistant, and as the plug
	plug    uint32
	sent    chan string // to the plug
	n       int
}

func newPair(t testing.TB, broker *harness.Mosquitto, urls ...string) *pair {
	p := &pair{t: t, broker: broker, sent: make(chan string, 100)}
	for i, name := range []string{"attic", "cellar"} {
		p.cfgs[i] = beside(t, broker, func(c *config.Config) { c.Gateway.Name, c.MQTT.Remote.URL = name, urls[i] })
		p.start(i)
		p.plug = p.at[i].registerRemote("plug").ID
	}
	p.house = stranger(t, broker, "house", "x", "")
	done(t, p.house.Subscribe(fmt.Sprintf("watchtower/channels/5/send/%d/+", p.plug), 1, func(_ paho.Client, m paho.Message) {
		if word := string(m.Payload()); word != "probe" {
			p.sent <- word
		}
	}))
	done(t, p.house.Publish(fmt.Sprintf("watchtower/joins/%d", p.plug), 1, true, "[5]"))
	return p
}

func (p *pair) start(i int) {
	p.t.Helper()
	p.at[i] = startHomely(p.t, p.cfgs[i])
	p.at[i].isAtRemote()
	p.devices[i] = p.at[i].wire("tcp")
}

// say has Home Assistant and the plug say some words, and returns them.
func (p *pair) say() (words []string) {
	for range 10 {
		for by, topic := range map[string]string{"house": "watchtower/channels/5/broadcast", "plug": fmt.Sprintf("watchtower/channels/5/broadcast/%d", p.plug)} {
			p.n++
			word := fmt.Sprintf("%s %d", by, p.n)
			done(p.t, p.house.Publish(topic, 1, false, word))
			words = append(words, word)
		}
	}
	return words
}

// hear requires that a device hears words, once each and in their order.
func (p *pair) hear(d *device, words []string) {
	p.t.Helper()
	for _, word := range words {
		got := d.next(p.t)
		for strings.HasPrefix(got.data, "try") || got.data == "probe" {
			got = d.next(p.t)
		}
		require.Equal(p.t, word, got.data)
	}
}

// until waits until what Home Assistant and the plug say is heard.
func (p *pair) until(d *device) {
	p.t.Helper()
	for _, topic := range []string{"watchtower/channels/5/broadcast", fmt.Sprintf("watchtower/channels/5/broadcast/%d", p.plug)} {
		eventually(p.t, "it is heard", func() bool {
			p.n++
			word := fmt.Sprint("try ", p.n)
			done(p.t, p.house.Publish(topic, 1, false, word))
			return heardSoon(d, word)
		})
	}
}

// sends requires that the plug gets what a device sends to it, once.
func (p *pair) sends(d *device) {
	p.t.Helper()
	for range 3 {
		p.n++
		word := fmt.Sprint("sent ", p.n)
		d.send(5, p.plug, []byte(word))
		select {
		case got := <-p.sent:
			require.Equal(p.t, word, got, "once")
		case <-time.After(patient):
			require.Fail(p.t, "it is not sent")
		}
	}
}

// Of two gateways one takes what Home Assistant says on a channel that both announce, and what a client
// says that both know. Another one takes over when that one is gone, and goes on to.
func TestOneOfTwoGatewaysTakesWhatBothCould(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	p := newPair(t, m, m.URL(), m.URL())
	heard := func(who ...int) {
		t.Helper()
		words := p.say()
		for _, i := range who {
			p.hear(p.devices[i], words)
		}
		for _, i := range who {
			eventually(t, "the plug can be sent to", func() bool { return p.at[i].reaches(p.plug) })
		}
		for _, i := range who {
			p.sends(p.devices[i])
		}
	}
	heard(0, 1)
	p.at[0].stop()
	p.until(p.devices[1])
	heard(1)
	p.start(0)
	heard(0, 1)
	p.at[1].stop()
	p.until(p.devices[0])
	heard(0)
	require.Zero(t, p.at[0].dropped(remote.Protocol, bridge.Forged))
}

// A gateway that starts waits for one that it has not heard, if that one is online by its status at the
// broker.
func TestAGatewayWaitsForOneThatItHasNotHeard(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	house := stranger(t, m, "house", "x", "")
	done(t, house.Publish("watchtower/gateways/attic/status", 1, true, "online"))
	begun := time.Now()
	r := startHomely(t, beside(t, m, nil))
	r.isAtRemote()
	d := r.wire("tcp")
	done(t, house.Publish("watchtower/channels/5/broadcast", 1, false, "hello"))
	require.Equal(t, "hello", d.next(t).data)
	require.Greater(t, time.Since(begun), 4500*time.Millisecond)
}

// A gateway that is cut off from the broker for more than five seconds is taken over from, and what
// the broker had kept for it was heard already.
func TestAGatewayThatIsCutOffFromTheBrokerRepeatsNothing(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	cable := harness.NewCable(t, m.Address)
	p := newPair(t, m, "mqtt://"+cable.Addr(), m.URL())
	words := p.say()
	p.hear(p.devices[0], words)
	p.hear(p.devices[1], words)
	cable.Cut()
	cut := time.Now()
	p.until(p.devices[1])
	eventually(t, "it counts as gone for itself too", func() bool { return time.Since(cut) > 6*time.Second })
	missed := p.say()
	p.hear(p.devices[1], missed)
	cable.Mend()
	p.at[0].isAtRemote()
	eventually(t, "they hear each other", func() bool { return p.at[0].reaches(p.devices[1].id) })
	for got := p.devices[0].next(t); got.data != missed[len(missed)-1]; { // the other one tells of what was said meanwhile
		got = p.devices[0].next(t)
	}
	words = p.say()
	p.hear(p.devices[1], words)
	p.hear(p.devices[0], words)
}
