// Package intake bounds what clients hold before they are known, and what incomplete
// messages of known clients hold. It keeps three counts: connections, by listener and by
// address; the bytes of strangers, all protocols together; the bytes of incomplete
// messages of known senders. It knows no protocol, and reads from connections only for
// its callers. It closes strangers to make room.
//
// A Door is one kind of listener. A connection through it is a Guest. A guest is a
// stranger until it has proved who it is. A stranger is charged a fixed number of bytes
// for its buffers, and may borrow more. Where a limit is reached, a stranger makes room
// for the newcomer: the oldest one if it is past the time to register, else the oldest of
// the address that has most. A known guest is never closed for another.
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

// The settings whose limits this package applies. The log and errors name them.
const (
	StrangersSetting  = "limits.strangers_bytes"
	UnfinishedSetting = "limits.unfinished_bytes"
	AddressSetting    = "limits.connections_per_address"
)

// Free is how many bytes of one message a client may hold before more is charged: its
// buffers have room for them.
const Free = 4 << 10

// shares is the number of shares of a pool. Each sender or address may borrow one share.
const shares = 8

// Options are the bounds. 0 means no bound.
type Options struct {
	config.Limits
	Largest  int // bytes of the largest single message or packet, which always has room
	Now      func() time.Time
	Counters *bridge.Counters // counts refusals; nil: they are not counted
	Log      *logrus.Logger   // nil: refusals are not logged
}

// Intake holds the counts that all protocols share. Its methods may be called from any
// goroutine.
type Intake struct {
	opts  Options
	known pool

	mu    sync.Mutex
	doors []*Door
	held  int                  // bytes of strangers
	lent  map[netip.Prefix]int // bytes that strangers borrowed, by address
	said  map[notice]time.Time // when it was last logged
}

type notice struct {
	protocol bridge.Protocol
	setting  string
}

// New returns an Intake.
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

// sayEvery is the time between two log lines about the same limit and protocol.
const sayEvery = time.Minute

// Refused counts a refusal because of a limit. It logs once a minute.
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

// Held returns how many bytes strangers hold, and how many the incomplete messages of
// known senders.
func (in *Intake) Held() (strangers, unfinished int) {
	in.mu.Lock()
	strangers = in.held
	in.mu.Unlock()
	in.known.mu.Lock()
	defer in.known.mu.Unlock()
	return strangers, in.known.held
}
