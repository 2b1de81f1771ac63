package gateway_test

import (
	"context"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	small "watchtower/device"
	"watchtower/internal/harness"
)

// visitor is an MQTT 3.1.1 client that notes when its connection ends.
type visitor struct {
	paho.Client
	ended chan struct{}
}

// visits connects an MQTT client that does not connect again by itself.
func (r *running) visits(id string, change func(*paho.ClientOptions)) *visitor {
	r.t.Helper()
	v := &visitor{ended: make(chan struct{})}
	o := paho.NewClientOptions().AddBroker("tcp://" + r.at.MQTT).SetClientID(id).SetUsername("x").SetPassword(key).SetAutoReconnect(false).
		SetOrderMatters(true).SetConnectionLostHandler(func(paho.Client, error) { close(v.ended) })
	if change != nil {
		change(o)
	}
	v.Client = paho.NewClient(o)
	require.NoError(r.t, wait(v.Connect()))
	r.t.Cleanup(func() { v.Disconnect(0) })
	return v
}

func (v *visitor) isOver(t testing.TB) {
	t.Helper()
	select {
	case <-v.ended:
	case <-time.After(lenient):
		t.Fatal("the connection goes on")
	}
}

// A name is one device's: whoever comes last with it, at whichever gateway and over whichever
// protocol, has it.
func TestANameIsAtOneGatewayOfASpace(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	a, b := together(t, servers.URL(), "a", nil), together(t, servers.URL(), "b", nil)
	meet(t, a, b)
	held := func(r *running) bool {
		id, err := r.g.Hub().Receiver("lamp")
		if err != nil {
			return false
		}
		info, refusal := r.g.Hub().Registry().Sender(id)
		return refusal == nil && info.Here
	}
	for _, protocol := range []string{"udp", "tcp"} {
		first := a.visits("lamp", nil)
		ctx, cancel := context.WithTimeout(context.Background(), lenient)
		defer cancel()
		at := b.at.UDP
		if protocol == "tcp" {
			at = b.at.TCP
		}
		d, err := small.Dial(ctx, protocol, at, small.Options{Secret: key, Name: "lamp"})
		require.NoError(t, err)
		first.isOver(t)
		eventually(t, "it is at b alone", func() bool { return !held(a) && held(b) })
		a.visits("lamp", nil)
		eventually(t, "it is at a alone", func() bool { return held(a) && !held(b) })
		_ = d.Close(ctx)
	}
}
