package bridge

import (
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge/outbound"
	"watchtower/config"
)

// silent is a bus without clients.
type silent struct{}

func (silent) Protocol() Protocol                   { return testVia }
func (silent) Publish(*Message) error               { return nil }
func (silent) PublishOwn(string, []byte) error      { return nil }
func (silent) PublishRetained(string, []byte) error { return nil }

var testVia = NewProtocol("deliver_test")

// A link that takes everything is asked while a message is delivered, and then sees members that came
// meanwhile: also on a channel that was forgotten meanwhile, and is known again.
func TestALinkSeesMembersThatComeMeanwhile(t *testing.T) {
	for what, meanwhile := range map[string]func(*Hub){
		"on the same channel":             func(*Hub) {},
		"on a channel that was forgotten": (*Hub).publishMembers,
	} {
		for _, kind := range []Type{Broadcast, Send} {
			h, err := New(Options{Tree: NewTree("w", "g"), Limits: config.Limits{MessageBytes: 100}, Log: logrus.New()})
			require.NoError(t, err)
			h.SetBus(silent{})
			hold := h.Holds().New(func() {})
			s := hold.Sender()
			link := h.AddLink(testVia, 4, time.Second)
			var before, after bool
			link.TakeEverything(func(m *Message, _ *outbound.Round) bool {
				before = link.HasMembers(m)
				h.Directory().Repeat(5)
				meanwhile(h)
				require.NoError(t, h.Attach(s, 5, &Attachment{Via: testVia, Broadcasts: true, Sends: true}))
				after = link.HasMembers(m)
				return true
			})
			require.NoError(t, h.Deliver(&Message{Type: kind, Channel: 5, Receiver: s.ID(), Sender: 1, Time: time.Unix(1, 0)}, nil))
			assert.False(t, before, what)
			assert.True(t, after, "%s, %s", what, kind)
		}
	}
}
