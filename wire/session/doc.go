// Package session executes session frames, the authenticated family of the wire protocol:
// registration with a cookie, tags, requests that are executed at most once, answers that
// are repeated, deliveries that are acknowledged, sleep, and sessions that move to
// another address.
//
// It has no socket, no goroutine and no timer, and reads the clock it was given. Table is
// for UDP: it is given datagrams and messages, and puts datagrams to send into an Out.
// Advance does what is due, and says when to call it again. Conn is for TCP, where the
// connection does much of that.
//
//	registrar.go  r and c, what is kept of them    table.go  UDP: sessions, their start and end
//	keys.go       by which key an r is tagged
//	verbs.go      requests as verbs of bridge      take.go   UDP: one datagram
//	window.go     numbers and answers              give.go   UDP: what goes to one device, and when
//	outbox.go     deliveries that wait             wheel.go  UDP: when each session is due
//	core.go       what both transports share       conn.go   TCP
//	out.go        datagrams to send
package session

import (
	"net/netip"
	"time"

	"watchtower/bridge"
	"watchtower/config"
)

// Why a session frame is dropped.
var (
	Duplicate = bridge.NewReason("duplicate") // its number was taken already, or is too old
	Elsewhere = bridge.NewReason("elsewhere") // it came from an address that is not its session's
	Unknown   = bridge.NewReason("unknown")   // a k for an unknown session, or a frame that came while its session ended
	Truncated = bridge.NewReason("truncated") // a delivery was cut short for its device
)

// Options are the rules for session frames. The sections are shared, and only read.
type Options struct {
	Via bridge.Protocol // for Table; a Conn has its registrar's
	*config.Wire
	*config.Limits                  // for Table; Conn does not use them
	Now            func() time.Time // nil: time.Now

	Member func(*Session) any // for Table: Attachment.Member of a session; nil: the session

	// Wake is called if something is due earlier than Advance said. Locks are held: it
	// neither blocks nor calls back. Nil: nobody is told.
	Wake func()
	// Later is given a function that waits for the disk, and calls it elsewhere. It
	// returns false if it has no room. Nil: the function is called at once.
	Later func(func(*Out)) bool

	Door Door // of Table's registrations; nil: open to everybody

	// Misread is called for each frame that is malformed or has a wrong tag, after it was
	// counted. Nil: nobody is told.
	Misread func(from netip.Addr, why bridge.Reason)
}

// Door decides whose registrations are checked, and is told the results. It is not asked
// about devices that have a session.
type Door interface {
	// WantsCookie reports whether AdmitTag depends on a cookie of the address.
	WantsCookie(from netip.Addr) bool
	AdmitTag(from netip.Addr, cookie bool) bool
	WrongTag(from netip.Addr, name []byte) // name as it calls itself, until the call returns
	Proved(from netip.Addr)                // the device has really this address
}

type openDoor struct{}

func (openDoor) WantsCookie(netip.Addr) bool    { return false }
func (openDoor) AdmitTag(netip.Addr, bool) bool { return true }
func (openDoor) WrongTag(netip.Addr, []byte)    {}
func (openDoor) Proved(netip.Addr)              {}

const (
	retries        = 10 // of a delivery
	retryDoublings = 3  // of the gap; from then on it is eight gaps
	lifeFactor     = 7  // halves of a keep-alive: 3.5
	leastKeepAlive = 5  // seconds
	mostKeepAlive  = 3600
	challengeEvery = 1000 // milliseconds between two q of a session
	movedBelow     = 8    // how far below the newest a number from a new address may be
	pingsWaiting   = 8    // answers to p that wait for deliveries
	lateAnswers    = 8    // answers that wait because of a device's pace
	listedOverTCP  = 15_000
	tcpDatagram    = 65_535 // MaxDatagram of a session over TCP, in bytes
	lastSeq        = 1<<32 - 1
)

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Member == nil {
		o.Member = func(s *Session) any { return s }
	}
	if o.Misread == nil {
		o.Misread = func(netip.Addr, bridge.Reason) {}
	}
	if o.Wake == nil {
		o.Wake = func() {}
	}
	return o
}
