package bridge

import (
	"math"
	"net/netip"
	"sync/atomic"
	"time"
)

// signs are what the client of a hold shows of itself. Any goroutine may write and read them.
type signs struct {
	from  atomic.Pointer[netip.AddrPort] // nil: not known
	heard atomic.Int64                   // Unix seconds; 0: not known
	late  atomic.Int64                   // seconds of silence after which it is late; 0: never
}

// At notes where a hold's client is.
func (hd *Hold) At(from netip.AddrPort) { hd.from.Store(&from) }

// Heard notes that a hold's client sent something. It is for each packet, so it writes once a
// second at most.
func (hd *Hold) Heard(now time.Time) {
	if s := now.Unix(); hd.heard.Load() != s {
		hd.heard.Store(s)
	}
}

// Promises notes how long a hold's client may be silent; 0: as long as it likes. A client
// that is silent for longer is late.
func (hd *Hold) Promises(silence time.Duration) {
	hd.late.Store(int64(math.Ceil(silence.Seconds())))
}

// lateAt reports whether the client has been silent for longer than it promised.
func (hd *Hold) lateAt(now time.Time) bool {
	late, heard := hd.late.Load(), hd.heard.Load()
	return late > 0 && heard > 0 && now.Unix()-heard > late
}

// seen notes, for a client that goes, when it was last heard of.
func (hd *Hold) seen() {
	if heard := hd.heard.Load(); heard > hd.sender.seen.Load() {
		hd.sender.seen.Store(heard)
	}
}

// signsLocked adds what the holds of a sender show of their clients: of the one that was
// heard last.
func (h *Hub) signsLocked(s *Sender, info *SenderInfo) {
	heard, late := int64(0), true
	for _, hold := range s.holds {
		if from, at := hold.from.Load(), hold.heard.Load(); from != nil && (at >= heard || !info.From.IsValid()) {
			info.From = *from
		}
		if !hold.away.Load() {
			heard = max(heard, hold.heard.Load())
			late = late && hold.lateAt(h.now())
		}
	}
	if heard > 0 {
		info.Heard, info.Late = time.Unix(heard, 0), late
	}
}

// Gone is a device without a name that has left channels without a goodbye. Nobody can tell
// whether it is back, because it gets another id then.
type Gone struct {
	ID   SenderID
	Via  Protocol
	Why  Departure
	When time.Time // it was last heard of
	From netip.AddrPort
	On   []Channel // at most goneChannels
}

// The newest goneMost are known, with the first goneChannels of each.
const (
	goneMost     = 64
	goneChannels = 8
)

// goneLocked notes a sender without a name that ends with a hold.
func (h *Hub) goneLocked(hold *Hold, d departure) {
	if len(hold.on) == 0 || d.why == LeftUnnoticed || d.why == LeftByGoodbye || hold.sender.Name() != "" {
		return
	}
	g := Gone{ID: hold.sender.id, Via: d.via, Why: d.why, When: h.now(), On: hold.on}
	if heard := hold.heard.Load(); heard > 0 {
		g.When = time.Unix(heard, 0)
	}
	if d.from != nil {
		g.From = *d.from
	}
	h.gone = append(h.gone[max(0, len(h.gone)+1-goneMost):], g)
}

// Gone lists the devices without a name that left since a time, the last first.
func (r Registry) Gone(since time.Time) (list []Gone) {
	h := r.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	for i := len(h.gone) - 1; i >= 0; i-- {
		if g := h.gone[i]; !g.When.Before(since) {
			list = append(list, g)
		}
	}
	return list
}
