package bridge_test

import (
	"testing"
	"time"

	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
)

// Two devices of one name over two protocols displace each other, and neither is told. The log
// says it, once a minute.
func TestANameOfTwoDevicesIsLogged(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	log, logged := logtest.NewNullLogger()
	h, _ := harness.Hub(t, viaMQTT, bridge.Options{Log: log, Now: func() time.Time { return now }})
	comes := func(name string, via bridge.Protocol) *bridge.Hold {
		hold, err := h.Holds().Register(bridge.Naming{Name: name, Via: via}, func() {})
		require.NoError(t, err)
		hold.Present(via)
		h.Holds().Claim(hold, func() {})
		hold.Heard(now)
		return hold
	}
	comes("valve", viaUDP)
	comes("valve", viaUDP)
	assert.Empty(t, logged.AllEntries(), "a device that comes back")
	comes("valve", viaMQTT)
	require.Len(t, logged.AllEntries(), 1)
	line := logged.LastEntry()
	assert.Contains(t, line.Message, "give each its own")
	assert.Equal(t, "valve", line.Data["name"])
	assert.Equal(t, viaUDP, line.Data["was"])
	assert.Equal(t, viaMQTT, line.Data["now"])
	comes("valve", viaUDP)
	assert.Len(t, logged.AllEntries(), 1, "within a minute")
	now = now.Add(time.Minute)
	last := comes("valve", viaMQTT)
	assert.Len(t, logged.AllEntries(), 2)
	now = now.Add(time.Hour)
	comes("valve", viaUDP).Away(viaUDP)
	assert.Len(t, logged.AllEntries(), 2, "nothing was heard of it for an hour")
	comes("valve", viaMQTT)
	assert.Len(t, logged.AllEntries(), 2, "it was away")
	h.Holds().Release(last)
}
