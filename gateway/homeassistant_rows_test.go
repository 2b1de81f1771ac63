package gateway_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A Home Assistant that connects as it does, with a will and no session that lasts, leaves
// nothing on the disk that its next start complains of.
func TestRestartsFindNothingOfNobody(t *testing.T) {
	t.Parallel()
	cfg := homely(t, nil)
	r := startHomely(t, cfg)
	h := newHouse(t, r.at.MQTT, 5).start()
	for range 3 {
		r.stop()
		r = startHomely(t, cfg)
		h.connected()
		assert.NotContains(t, r.log.String(), "belonged to nobody")
		assert.NotContains(t, r.log.String(), "MQTT state dropped")
	}
}
