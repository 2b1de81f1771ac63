package mqtt

import (
	"errors"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/assert"

	"watchtower/bridge"
)

// A reason that passes is not told by a code after which a client gives up.
func TestWhatPassesIsNoRefusal(t *testing.T) {
	t.Parallel()
	for code, want := range map[bridge.Code]packets.Code{
		bridge.TooManySenders: packets.ErrServerUnavailable, bridge.StoreFailed: packets.ErrServerUnavailable,
		bridge.InvalidSender: packets.ErrServerUnavailable, bridge.NameProtected: packets.ErrNotAuthorized, bridge.InvalidName: packets.ErrNotAuthorized,
	} {
		assert.Equal(t, want, identityCode(&bridge.Error{Code: code}), code)
	}
	assert.Equal(t, packets.ErrNotAuthorized, identityCode(errors.New("another")))
}
