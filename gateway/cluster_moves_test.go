package gateway_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
	"watchtower/mqtt"
)

// traveller is an MQTT client with a session, which connects to one gateway after the other. It
// notes what it hears of each speaker: texts of a name and a number.
type traveller struct {
	t    *testing.T
	id   string
	mu   sync.Mutex
	next map[string]int64
	dups int // that came again with DUP
	more int // and without
	trip int // how often it has moved
	now  *visitor

	silence *silence // nil: nobody asks
}

// hearing returns what takes the messages of a connection. The client library may hand over some of
// an earlier connection late.
func (v *traveller) hearing() paho.MessageHandler {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.trip++
	trip := v.trip
	return func(_ paho.Client, m paho.Message) { v.hears(m, trip) }
}

func (v *traveller) hears(m paho.Message, trip int) {
	who, number, found := strings.Cut(string(m.Payload()), " ")
	n, err := strconv.ParseInt(number, 10, 64)
	if !found || err != nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.silence != nil {
		v.silence.hears(m)
	}
	switch want := v.next[who]; {
	case n == want, want < 0: // it begins anywhere
		v.next[who] = n + 1
	case n < want && (m.Duplicate() || trip < v.trip):
		v.dups++
	case n < want:
		v.more++
	default:
		v.t.Errorf("it hears %s's %d, not %d (DUP %v)", who, n, want, m.Duplicate())
		v.next[who] = n + 1
	}
}

// goesTo connects the traveller to a gateway, and returns whether its session was there. In an
// orderly way it says goodbye before; else its old connection is ended by the new one.
func (v *traveller) goesTo(r *running, orderly bool) (present bool) {
	v.t.Helper()
	was := v.now
	if orderly && was != nil {
		was.Disconnect(50)
	}
	now := &visitor{ended: make(chan struct{})}
	o := paho.NewClientOptions().AddBroker("tcp://" + r.at.MQTT).SetClientID(v.id).SetUsername("x").SetPassword(key).SetAutoReconnect(false).SetCleanSession(false).
		SetOrderMatters(true).SetDefaultPublishHandler(v.hearing()).SetConnectionLostHandler(func(paho.Client, error) { close(now.ended) })
	now.Client = paho.NewClient(o)
	token := now.Connect().(*paho.ConnectToken)
	require.NoError(v.t, wait(token))
	v.now = now
	if !orderly && was != nil {
		was.isOver(v.t)
	}
	return token.SessionPresent()
}

// says has a client publish on a topic at QoS 1 until end is called, which returns how much it
// said.
func (r *running) says(who, topic string, every time.Duration) (end func() int64) {
	c := r.visits(who, nil)
	over := make(chan struct{})
	var said int64
	var speaking sync.WaitGroup
	speaking.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-over:
				return
			case <-t.C:
				if err := wait(c.Publish(topic, 1, false, fmt.Sprintf("%s %d", who, said))); err != nil {
					r.t.Errorf("%s: %v", who, err)
					return
				}
				said++
			}
		}
	})
	return func() int64 {
		close(over)
		speaking.Wait()
		return said
	}
}

// A client with a persistent session moves between gateways while others speak: it misses nothing,
// hears each in order, and what comes again says so.
func TestASessionMovesWithItsClient(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	all := []*running{together(t, servers.URL(), "a", nil), together(t, servers.URL(), "b", nil), together(t, servers.URL(), "c", nil)}
	meetAll(t, all)
	sessionsMove(t, all, 40, 10*time.Millisecond) // under the race detector, beside other tests
}

func sessionsMove(t *testing.T, all []*running, moves int, every time.Duration) {
	v := &traveller{t: t, id: "mover", next: map[string]int64{}}
	assert.False(t, v.goesTo(all[0], true))
	require.NoError(t, wait(v.now.SubscribeMultiple(map[string]byte{"watchtower/channels/5/#": 1, "own/#": 1}, nil)))
	var ends []func() int64
	said := map[string]int64{}
	for i, r := range all {
		ends = append(ends, r.says(fmt.Sprint("onchannel", i), "watchtower/channels/5/broadcast", every), r.says(fmt.Sprint("ontopic", i), "own/x", 2*every))
	}
	for i := range moves {
		at := all[(i+1)%len(all)]
		require.True(t, v.goesTo(at, i%3 != 0), "move %d", i)
		for stays := time.Now().Add(time.Duration(i%5) * 8 * time.Millisecond); time.Now().Before(stays); {
			time.Sleep(time.Millisecond)
		}
	}
	for i, end := range ends {
		who := []string{"onchannel", "ontopic"}[i%2]
		said[fmt.Sprint(who, i/2)] = end()
	}
	eventually(t, "all is heard", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		for who, n := range said {
			if v.next[who] < n {
				return false
			}
		}
		return true
	})
	t.Logf("%v, %d twice, and %d without DUP", said, v.dups, v.more)
	assert.LessOrEqual(t, v.more, 2+moves/100, "comes twice without DUP: a move waits 300 ms for a publisher, which may take longer on a busy machine")
	eventually(t, "the session is at one gateway", func() bool {
		n := 0
		for _, r := range all {
			n += r.g.MQTTStats().Sessions
		}
		return n == 1+2*len(all) // its own, and those who speak
	})
	v.now.Disconnect(50)
	assert.Equal(t, mqtt.Moved{Came: uint64(moves), Given: uint64(moves)}, movedAmong(all))
	at := all[moves%len(all)]
	eventually(t, "it is away", func() bool { return at.g.MQTTStats().Away == 1 })
	_, metrics := at.call("GET", "/metrics", "", "")
	assert.Contains(t, metrics, "\nwatchtower_mqtt_sessions{client=\"away\"} 1\n")
	assert.Contains(t, metrics, fmt.Sprintf("\nwatchtower_mqtt_sessions_moved_total{how=\"came\"} %d\n", at.g.MQTTStats().Moved.Came))
}

// movedAmong sums which sessions have moved among gateways.
func movedAmong(all []*running) (sum mqtt.Moved) {
	for _, r := range all {
		m := r.g.MQTTStats().Moved
		sum = mqtt.Moved{Came: sum.Came + m.Came, Bare: sum.Bare + m.Bare, Adopted: sum.Adopted + m.Adopted, Given: sum.Given + m.Given}
	}
	return sum
}
