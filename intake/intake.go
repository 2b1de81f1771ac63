// Package intake bounds what peers hold before they are known, and what the
// unfinished input of known ones holds. It owns three counts: connections, by
// listener and by address; the bytes of strangers, all protocols together; the
// bytes of what known senders have begun and not finished. It reads and closes
// connections only as it is asked to, and knows no protocol.
//
// A Door is one kind of listener. Whoever comes in by it is a Guest, and a
// stranger until it has proved who it is. A stranger is charged a fixed sum for
// its buffers, and more only by borrowing from what is left. Where a limit is
// reached, a stranger makes room for the newcomer: the oldest one that is past
// the time to register, else the oldest of the address that has most. Who is
// known is never closed for another.
package intake

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
	"watchtower/config"
)

// The settings that this package counts against, for the log and for errors.
const (
	StrangersSetting  = "limits.strangers_bytes"
	UnfinishedSetting = "limits.unfinished_bytes"
	AddressSetting    = "limits.connections_per_address"
)

// Free is what a peer may hold of one message before it is charged, in bytes: its
// buffers have room for it.
const Free = 4 << 10

// shares is how many of those who borrow can use a pool up.
const shares = 8

// Options are the bounds. One that is 0 is none.
type Options struct {
	config.Limits
	Largest  int // bytes of the largest single message or packet, which always has room
	Now      func() time.Time
	Counters *bridge.Counters // of what was refused; nil: it is not counted
	Log      *logrus.Logger   // nil: it is not logged
}

// Intake is what all protocols share. Its methods may be called from any
// goroutine.
type Intake struct {
	opts  Options
	known pool

	mu    sync.Mutex
	doors []*Door
	held  int                  // bytes of strangers
	lent  map[netip.Prefix]int // of them, beyond the fixed sums
	said  map[notice]time.Time // when it was last logged
}

type notice struct {
	protocol bridge.Protocol
	setting  string
}

// New returns an Intake. Its zero options bound nothing.
func New(opts Options) *Intake {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	in := &Intake{opts: opts, lent: map[netip.Prefix]int{}, said: map[notice]time.Time{}}
	if opts.UnfinishedBytes > 0 {
		in.known.most = max(opts.UnfinishedBytes, opts.Largest)
		in.known.share = max(in.known.most/shares, opts.Largest)
	}
	in.known.lent = map[any]int{}
	return in
}

// sayEvery is how often it is logged that a limit is reached.
const sayEvery = time.Minute

// Refused counts what went over a limit, and logs it once a minute.
func (in *Intake) Refused(p bridge.Protocol, setting string, at netip.Prefix) {
	if in.opts.Counters != nil {
		in.opts.Counters.Drop(p, bridge.Limit, 1)
	}
	if in.opts.Log == nil {
		return
	}
	now := in.opts.Now()
	in.mu.Lock()
	last, said := in.said[notice{p, setting}]
	quiet := said && now.Sub(last) < sayEvery
	if !quiet {
		in.said[notice{p, setting}] = now
	}
	in.mu.Unlock()
	if quiet {
		return
	}
	event := in.opts.Log.WithField("protocol", p.String()).WithField("setting", setting)
	if at.IsValid() {
		event = event.WithField("address", at.Addr().String())
	}
	event.Warn(fmt.Sprintf("%s (%s)", meaning(setting), setting))
}

func meaning(setting string) string {
	switch setting {
	case StrangersSetting:
		return "connections that have not registered hold too much: the oldest are closed"
	case UnfinishedSetting:
		return "messages that have begun and not ended hold too much: more are refused"
	case AddressSetting:
		return "too many connections from one address"
	}
	return "too many connections"
}

// Held returns how many bytes strangers hold, and unfinished input of known
// senders.
func (in *Intake) Held() (strangers, unfinished int) {
	in.mu.Lock()
	strangers = in.held
	in.mu.Unlock()
	in.known.mu.Lock()
	defer in.known.mu.Unlock()
	return strangers, in.known.held
}
