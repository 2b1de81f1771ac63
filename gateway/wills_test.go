package gateway_test

import (
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

// withWill connects a client whose session ends with its connection, and which has
// a retained will on state/<topic>.
func (r *running) withWill(id, topic string) paho.Client {
	c, err := r.pahoClient(func(o *paho.ClientOptions) {
		o.SetClientID(id).SetCleanSession(true).SetWill("state/"+topic, "dead", 1, true)
	})
	require.NoError(r.t, err)
	return c
}

// wills follows all states, and returns a function that waits until the grace of
// the wills is over: until a client that never comes back is said to be dead. It
// returns the states by then.
func (r *running) wills() func() map[string]string {
	told := make(chan paho.Message, 100)
	c, err := r.pahoClient(func(o *paho.ClientOptions) { o.SetClientID("watcher") })
	require.NoError(r.t, err)
	require.NoError(r.t, wait(c.Subscribe("state/+", 1, func(_ paho.Client, m paho.Message) { told <- m })))
	return func() map[string]string {
		states := map[string]string{}
		for late := time.After(patient); ; {
			select {
			case m := <-told:
				name := m.Topic()[len("state/"):]
				states[name] += string(m.Payload()) + " "
				if name == "lost" {
					return states
				}
			case <-late:
				require.Fail(r.t, "the grace is never over")
			}
		}
	}
}

const graceful = 400 * time.Millisecond

func (r *running) again() *running { return r.againFor(graceful) }

// againFor is again with a grace within which clients come back, also to a busy machine.
func (r *running) againFor(grace time.Duration) *running {
	return r.restart(func(c *config.Config) { c.MQTT.WillGrace, c.MQTT.SaveInterval = grace, 20*time.Millisecond })
}

func TestNoWillOfWhoComesBackWithinTheGrace(t *testing.T) {
	t.Parallel()
	r := start(t, nil).again()
	r.withWill("back", "back")
	r.withWill("lost", "lost")
	r.withWill("random-1", "random")
	r = r.againFor(6 * time.Second)
	states := r.wills()
	back := r.withWill("back", "back")
	require.NoError(t, wait(back.Publish("state/back", 1, true, "up")))
	other := r.withWill("random-2", "random") // the same program, by another client id
	require.NoError(t, wait(other.Publish("state/random", 1, true, "up")))
	assert.Equal(t, map[string]string{"back": "up ", "random": "up ", "lost": "dead "}, states())
}

func TestWhoSaidGoodbyeHasNoWillEver(t *testing.T) {
	t.Parallel()
	r := start(t, nil).again()
	r.withWill("polite", "polite")
	r = r.againFor(20 * time.Second)
	polite := r.withWill("polite", "polite")
	require.NoError(t, wait(polite.Publish("state/polite", 1, true, "up")))
	polite.Disconnect(100)
	eventually(t, "it has left", func() bool { return r.g.MQTTStats().Connections == 0 })
	for range 3 {
		r.withWill("lost", "lost")
		r = r.again()
		states := r.wills()
		assert.Equal(t, map[string]string{"polite": "up ", "lost": "dead "}, states())
		r.clear("state/lost")
	}
}

// clear removes a retained message.
func (r *running) clear(topic string) {
	c, err := r.pahoClient(func(o *paho.ClientOptions) { o.SetClientID("cleaner") })
	require.NoError(r.t, err)
	require.NoError(r.t, wait(c.Publish(topic, 1, true, "")))
	c.Disconnect(0)
}
