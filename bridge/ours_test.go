package bridge_test

import (
	"testing"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
)

// before is a store with senders of an earlier run.
type before struct {
	disk
	records []bridge.Record
	deleted []bridge.SenderID
}

func (b *before) Load() ([]bridge.Record, error) { return b.records, nil }
func (b *before) Delete(id bridge.SenderID) func() error {
	b.deleted = append(b.deleted, id)
	return b.disk.Delete(id)
}

// A name of the gateway's own belongs to nobody else, however it is asked for, and its id is the
// same at each start.
func TestASenderOfTheGatewaysOwn(t *testing.T) {
	log, lines := logtest.NewNullLogger()
	log.SetLevel(logrus.WarnLevel)
	store := &before{records: []bridge.Record{{ID: 7, Name: "map", Held: true, Seen: 1}, {ID: 8, Name: "lamp", Held: true, Seen: 1}}}
	start := func(store bridge.Store) *bridge.Hub {
		h, _ := harness.Hub(t, viaMQTT, bridge.Options{Store: store, Tree: bridge.NewTree("w", "g"), OwnNames: []string{"map"}, IDKey: []byte("key"), Log: log})
		return h
	}
	h := start(store)
	assert.Equal(t, []bridge.SenderID{7}, store.deleted, "who had it before is forgotten")
	require.Len(t, lines.AllEntries(), 1)
	assert.Equal(t, "map", lines.LastEntry().Data["name"])

	own := h.Holds().Own("map").Sender()
	assert.Equal(t, own, h.Holds().Own("map").Sender())
	assert.Equal(t, own.ID(), start(nil).Holds().Own("map").Sender().ID())
	refused := func(err error) {
		t.Helper()
		var refusal *bridge.Error
		require.ErrorAs(t, err, &refusal)
		assert.Equal(t, bridge.NameProtected, refusal.Code)
	}
	_, err := h.Register(bridge.Registration{Name: "map"})
	refused(err)
	_, err = h.Holds().Register(bridge.Naming{Name: "map"}, func() {})
	refused(err)
	_, err = h.Holds().Register(bridge.Naming{Name: "map", By: bridge.ByShared + 1}, func() {})
	refused(err)
	_, err = h.Registry().FreshToken(own.ID())
	refused(err)
	name := "map"
	refused(h.Registry().Change(8, bridge.SenderChange{Name: &name}))
	name = "another"
	refused(h.Registry().Change(own.ID(), bridge.SenderChange{Name: &name}))
	refused(h.Forget(own))
	_, err = h.Tokens().Authorize(own.ID(), "")
	assert.Error(t, err)

	// What other gateways write changes nothing: they may not know the name as theirs.
	h.Peers().Learned(bridge.Record{ID: 9, Name: "map", Held: true})
	h.Peers().Learned(bridge.Record{ID: own.ID(), Name: "thief", Held: true})
	h.Peers().Deleted(own.ID())
	now, known := h.SenderByID(own.ID())
	require.True(t, known)
	assert.Equal(t, own, now)
	assert.Equal(t, "map", now.Name())
	assert.False(t, h.Known(9))
}
