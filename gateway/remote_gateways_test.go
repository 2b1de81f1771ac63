package gateway_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/mqtt/remote"
)

// Two gateways at one broker have one channel space. What is sent to a device of either stands
// nowhere in the open.
func TestTwoGatewaysAtOneForeignBroker(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	a := onRemote(t, m, nil)
	da := a.wire("udp")
	for i := range 50 { // nobody else is there to hear it, nor to miss it
		da.broadcast(5, fmt.Append(nil, i))
		require.Equal(t, fmt.Sprint(i), da.next(t).data, "its echo")
	}
	b := onRemote(t, m, func(c *config.Config) { c.Gateway.Name = "cellar" })
	spy := stranger(t, m, "spy", "x", "")
	seen := make(chan string, 10000)
	done(t, spy.Subscribe("#", 0, func(_ paho.Client, m paho.Message) { seen <- m.Topic() + " " + string(m.Payload()) }))
	db := b.wire("tcp")
	eventually(t, "they know each other's members", func() bool { return a.reaches(db.id) && b.reaches(da.id) })
	plug := a.foreign(m, "plug")
	eventually(t, "the plug is a member for both", func() bool { return b.reaches(plug.id) })
	all := []*device{da, db, plug}
	for _, from := range all {
		for _, to := range all {
			if from == to {
				continue
			}
			word := "secret from " + from.name + " to " + to.name
			from.send(5, to.id, []byte(word))
			for got := to.next(t); ; got = to.next(t) {
				if got.sent && got.data != "probe" {
					require.Equal(t, received{from.id, 5, true, word}, got)
					break
				}
			}
		}
		word := "from " + from.name
		from.broadcast(5, []byte(word))
		for _, to := range all {
			if to == from {
				continue
			}
			got := to.next(t)
			for got.data != word { // a basic frame's own echo, or a probe
				require.True(t, to.id == got.from || got.data == "probe", got.data)
				got = to.next(t)
			}
			require.Equal(t, received{from.id, 5, false, word}, got, "once")
		}
	}
	for _, d := range all { // nothing came twice
		d.broadcast(5, []byte("end of "+d.name))
	}
	for _, d := range all {
		for ends := 0; ends < 2; {
			got := d.next(t)
			require.True(t, got.from == d.id || got.data == "probe" || strings.HasPrefix(got.data, "end of "), got.data)
			if got.from != d.id && got.data != "probe" {
				ends++
			}
		}
	}
	spy.Disconnect(100)
	close(seen)
	for text := range seen {
		if strings.Contains(text, "secret") && !strings.Contains(text, "from foreign") {
			require.Contains(t, text, fmt.Sprintf("/send/%d/", plug.id), "only what is for that broker's own clients stands there")
		}
	}
	assert.Zero(t, a.dropped(remote.Protocol, bridge.Forged)+b.dropped(remote.Protocol, bridge.Forged))
	for _, o := range b.g.Hub().Peers().Others() {
		assert.Zero(t, o.Lost)
	}
}

// reaches reports whether a sender can be sent to on channel 5.
func (r *running) reaches(id uint32) bool {
	reg := r.register("prober")
	r.post("/channels/join", fmt.Sprintf(`{"sender":%d,"channels":[5]}`, reg.ID), nil)
	status, _ := r.call("POST", fmt.Sprintf("/send?channels=5&sender=%d&receivers=%d", reg.ID, id), "application/octet-stream", "probe")
	return status == 200
}

// What the broker loses between two gateways is noticed, and fetched again.
func TestWhatAForeignBrokerLosesIsFetchedAgain(t *testing.T) {
	t.Parallel()
	m := harness.StartMosquitto(t, "allow_anonymous true")
	a := onRemote(t, m, nil)
	b := onRemote(t, m, func(c *config.Config) { c.Gateway.Name = "cellar" })
	from, to := a.wire("tcp"), b.wire("tcp")
	eventually(t, "they hear each other", func() bool {
		from.broadcast(5, []byte("hello"))
		select {
		case <-to.inbox:
			return true
		case <-time.After(short):
			return false
		}
	})
	const messages = 2000
	for i := range messages {
		if i == messages/4 || i == messages/2 {
			m.Kill()
			m.Start()
		}
		from.broadcast(5, fmt.Appendf(nil, "%d", i))
		if i%20 == 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
	for next := 0; next < messages; {
		got := to.next(t)
		if got.data == "hello" {
			continue
		}
		require.Equal(t, fmt.Sprint(next), got.data, "each once, in order")
		next++
	}
}
