package mqtt

import (
	"runtime"
	"sync/atomic"

	"github.com/mochi-mqtt/server/v2/packets"
)

// wills bounds what the wills of all clients hold together: a quarter of what
// their queues may. A will is handed from a connection to its session and to
// whoever sends it, so it counts until the collector has taken it back.
type wills struct {
	limit int64
	held  atomic.Int64
}

// willBytes is what a will takes besides its texts.
const willBytes = 512

// keep counts a will. It reports false if there is no room for it.
func (w *wills) keep(will *publication) bool {
	size := int64(willBytes + len(will.topic) + len(will.payload) + will.extras.weight())
	if w.held.Add(size) > w.limit {
		w.held.Add(-size)
		return false
	}
	runtime.AddCleanup(will, func(size int64) { w.held.Add(-size) }, size)
	return true
}

// keepWill counts the will of a client that connects, or refuses the client.
func (c *conn) keepWill() packets.Code {
	if c.will == nil || c.broker.wills.keep(c.will) {
		return packets.Code{}
	}
	c.will = nil
	c.broker.limited(c, c.host(), errWills)
	return packets.ErrQuotaExceeded
}
