package remote

import (
	"context"
	"encoding/binary"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"watchtower/bridge"
)

// turns decide which gateway takes what several at the broker could take: what one of its
// clients says, or Home Assistant on a channel. Each gateway claims what it can take, under a key
// of its own, and the oldest claim counts. So whoever takes something goes on to, and a gateway
// that comes later takes it only once that one is gone.
//
// A gateway that others may have counted as gone is strange: it first hears what they claim, and
// then claims what it can take anew.
type turns struct {
	bus    *Bus
	wake   chan struct{}
	others atomic.Pointer[[]bridge.Slot] // gateways that were heard
	absent atomic.Bool                   // the others had it counted as gone before this connection
	left   atomic.Int64                  // when the last frame was sent on the last connection, by the clock

	mu    sync.Mutex
	there map[string]bool // gateways whose status at the broker is online, heard or not, by name
	can   map[turn]uint64 // what this gateway can take, and when it claimed that; 0: not yet
	since time.Duration   // when it could hear the others again, by the clock; negative: not yet
	met   chan struct{}   // closed: it is strange no more
	ended bool            // serve has
}

// turn is what one gateway takes of several.
type turn struct {
	kind byte
	id   uint32
}

func clientsTurn(id bridge.SenderID) turn { return turn{'s', uint32(id)} } // what a client says
func housesTurn(c bridge.Channel) turn    { return turn{'h', uint32(c)} }  // what Home Assistant says

// How long a gateway waits for others to tell what they claim. Those that are there answer its
// first frame at once, if their machine is not too busy. One that was heard before, or that is online
// by what the broker keeps of its status, is waited for as long as anybody waits before it counts as gone.
const (
	meetFor   = 500 * time.Millisecond
	meetAgain = goneAfter
	meetMost  = 6 * time.Second // for one that is there, but does not tell what it claims
	meetLook  = 20 * time.Millisecond
)

// goneAfter is how long after its last frame others may count a gateway as gone.
const goneAfter = 4500 * time.Millisecond

func newTurns(b *Bus) *turns {
	t := &turns{bus: b, wake: make(chan struct{}, 1), there: map[string]bool{}, can: map[turn]uint64{}, met: make(chan struct{})}
	t.others.Store(&[]bridge.Slot{})
	t.left.Store(-int64(goneAfter))
	return t
}

// connected is called before anything of a new connection is heard.
func (t *turns) connected() {
	now := t.bus.clock()
	t.absent.Store(now-time.Duration(t.left.Load()) >= goneAfter)
	if !t.absent.Load() {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return
	}
	t.since = -1
	select {
	case <-t.met:
		t.met = make(chan struct{})
	default:
	}
	for of := range t.can {
		t.can[of] = 0
		t.bus.hub.Peers().Unclaim(of.key(t.bus.opts.Slot))
	}
	t.bus.neighbours.node.Greet()
}

// subscribed is called once a new connection hears the other gateways.
func (t *turns) subscribed() {
	t.mu.Lock()
	if t.since < 0 {
		t.since = t.bus.clock()
	}
	t.mu.Unlock()
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

// heard notes another gateway.
func (t *turns) heard(slot bridge.Slot) {
	known := append([]bridge.Slot{slot}, *t.others.Load()...)
	t.others.Store(&known)
}

// thereMost bounds the gateways that are waited for before they were heard.
const thereMost = 64

// told hears the status of a gateway. The broker keeps it, so it comes with the subscription.
func (t *turns) told(m *received) {
	name := strings.TrimSuffix(strings.TrimPrefix(m.topic, t.bus.opts.BaseTopic+"/gateways/"), "/status")
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case string(m.payload) != "online":
		delete(t.there, name)
	case name != t.bus.tree.Gateway() && len(t.there) < thereMost:
		t.there[name] = true
	}
}

// serve meets the other gateways, until ctx ends.
func (t *turns) serve(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			t.mu.Lock()
			t.ended = true
			t.mu.Unlock()
			t.meet()
			return
		case <-t.wake:
		}
		for !t.knowsAll() && ctx.Err() == nil {
			wait(ctx, meetLook)
		}
		t.meet()
	}
}

// knowsAll reports whether it is known what the others claim.
func (t *turns) knowsAll() bool {
	others := t.bus.hub.Peers().Others()
	t.mu.Lock()
	defer t.mu.Unlock()
	waited := t.bus.clock() - t.since
	if t.since < 0 || waited < meetFor {
		return false
	}
	unheard := len(t.there)
	for _, o := range others {
		if !o.Here && waited < meetAgain || o.Here && !o.Known && waited < meetMost {
			return false
		}
		if t.there[o.Name] {
			unheard--
		}
	}
	return unheard == 0 || waited >= meetAgain
}

// meet claims all that this gateway can take, after what others have claimed.
func (t *turns) meet() {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.met:
		return
	default:
		close(t.met)
	}
	for of := range t.can {
		t.claimLocked(of)
	}
}

func (t *turns) claimLocked(of turn) {
	c := bridge.Claim{Key: of.key(t.bus.opts.Slot), Standing: bridge.Live, Via: Protocol}
	t.can[of] = t.bus.hub.Peers().Claim(c, func(bridge.Claim) {}).At
}

// key is what a gateway claims for a turn. No other claims it, so it is never lost.
func (of turn) key(at bridge.Slot) bridge.ClaimKey {
	return bridge.NewClaimKey("foreign broker", string(binary.BigEndian.AppendUint32([]byte{byte(at), of.kind}, of.id)))
}

// take says whether this gateway can take something. It may be called while the hub is locked.
func (t *turns) take(of turn, can bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, could := t.can[of]
	switch {
	case !can && could:
		delete(t.can, of)
		t.bus.hub.Peers().Unclaim(of.key(t.bus.opts.Slot))
	case can && !could:
		t.can[of] = 0
		select {
		case <-t.met:
			t.claimLocked(of)
		default:
		}
	}
}

// await waits until this gateway has met the others.
func (t *turns) await() {
	t.mu.Lock()
	met := t.met
	t.mu.Unlock()
	<-met
}

// mine reports whether this gateway takes something that comes now. Kept says that the broker may
// have had it for a time: then another gateway has taken it, if one can.
func (t *turns) mine(of turn, kept bool) bool {
	t.await()
	if kept && t.absent.Load() {
		return !t.elsewhere(of)
	}
	return t.has(of)
}

// has is mine that waits for nobody.
func (t *turns) has(of turn) bool {
	others := *t.others.Load()
	if len(others) == 0 {
		return true
	}
	t.mu.Lock()
	mine := t.can[of]
	t.mu.Unlock()
	for _, at := range others {
		_, c, claimed := t.bus.hub.Peers().Claimed(of.key(at))
		if claimed && (mine == 0 || c.At < mine || c.At == mine && at < t.bus.opts.Slot) {
			return false
		}
	}
	return true
}

// elsewhere reports whether another gateway can take something.
func (t *turns) elsewhere(of turn) bool {
	for _, at := range *t.others.Load() {
		if _, _, claimed := t.bus.hub.Peers().Claimed(of.key(at)); claimed {
			return true
		}
	}
	return false
}
