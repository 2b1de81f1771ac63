package bridge_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

// What was only lent is copied, whatever its size.
func TestAMessageHasItsOwnCopyOfWhatWasLent(t *testing.T) {
	h := newHub(t, nil)
	hold := h.Holds().New(func() {})
	defer h.Holds().Release(hold)
	for _, n := range []int{0, 1, 16, 17, 80, 81, 100} {
		lent := make([]byte, n)
		m, err := h.Admit(hold.Sender(), bridge.Address{Channel: 5}, bridge.Content{Data: lent, Lent: true}, bridge.Voice{})
		require.NoError(t, err)
		for i := range lent {
			lent[i] = 'x'
		}
		assert.Equal(t, make([]byte, n), m.Data)
		assert.Equal(t, n, cap(m.Data), "an append would write over what is behind")
	}
}

// The hub tells whether its links have room, from the first message too many until half of them is gone.
func TestALinkHasRoom(t *testing.T) {
	h := newHub(t, nil)
	link := h.AddLink(viaUDP, 4, time.Millisecond)
	hold := h.Holds().New(func() {})
	defer h.Holds().Release(hold)
	require.NoError(t, h.Attach(hold.Sender(), 5, &bridge.Attachment{Via: viaUDP, Broadcasts: true}))
	say := func() error {
		return h.Deliver(&bridge.Message{Type: bridge.Broadcast, Channel: 5, Sender: 1, Time: time.Now()}, nil)
	}
	for range 3 {
		assert.True(t, h.Directory().HasRoom())
		require.NoError(t, say())
	}
	assert.False(t, h.Directory().HasRoom(), "more than half")
	require.NoError(t, say())
	require.Error(t, say())
	assert.False(t, h.Directory().HasRoom())
	link.Flush(func([]bridge.Job) {})
	assert.True(t, h.Directory().HasRoom())
}
