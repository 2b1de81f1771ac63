// Package session executes session frames, the authenticated family of the wire
// protocol: registration with a cookie, tags, numbers that are executed at most
// once, answers that are repeated, deliveries that are acknowledged, sleep, and
// sessions that move to another address.
//
// It has no socket, no goroutine and no timer, and reads the clock it was given.
// Table is for UDP: it is handed datagrams and messages, and what it wants sent
// it puts into an Out. Advance does what is due, and says when something will
// be next. Conn is for TCP, where a connection takes over much of that.
//
//	registrar.go  r and c, what is kept of them    table.go  UDP: who is where, life and death
//	verbs.go      requests as verbs of bridge      take.go   UDP: one datagram
//	window.go     numbers and answers              give.go   UDP: what goes to one device, and when
//	outbox.go     deliveries that wait             wheel.go  UDP: who is due when
//	core.go       what both transports share       conn.go   TCP
//	out.go        datagrams to be sent
package session

import (
	"net/netip"
	"time"

	"watchtower/bridge"
	"watchtower/config"
)

// Why a session frame is dropped.
var (
	Forged    = bridge.NewReason("forged")    // its tag is wrong
	Duplicate = bridge.NewReason("duplicate") // its number was taken already, or is too old
	Elsewhere = bridge.NewReason("elsewhere") // it came from an address that is not its session's
	Unknown   = bridge.NewReason("unknown")   // a k for a session that there is not, or a frame that came as its session ended
	Truncated = bridge.NewReason("truncated") // a delivery that reached its device cut short
)

// Options are the rules for session frames. The sections are shared, and only read.
type Options struct {
	Via bridge.Protocol // of Table; a Conn has its registrar's
	*config.Wire
	*config.Limits                  // of Table; Conn has no use for them
	Now            func() time.Time // nil: time.Now

	Member func(*Session) any // of Table: Attachment.Member of a session; nil: the session

	// Wake is told that something is due earlier than Advance said. It is called
	// with locks held, and neither blocks nor calls back. Nil: nobody is told.
	Wake func()
	// Later is given what has to wait for the disk, and calls it elsewhere. It
	// returns false if it has no room. Nil: it is called at once.
	Later func(func(*Out)) bool

	Door Door // of Table's registrations; nil: open to everybody
}

// Door says whose registrations are looked at, and is told what became of them. It
// is not asked for who has a session.
type Door interface {
	// WantsCookie reports whether AdmitTag depends on a cookie of the address.
	WantsCookie(from netip.Addr) bool
	AdmitTag(from netip.Addr, cookie bool) bool
	WrongTag(from netip.Addr)
	Proved(from netip.Addr) // that it is at its address
}

type openDoor struct{}

func (openDoor) WantsCookie(netip.Addr) bool    { return false }
func (openDoor) AdmitTag(netip.Addr, bool) bool { return true }
func (openDoor) WrongTag(netip.Addr)            {}
func (openDoor) Proved(netip.Addr)              {}

const (
	retries        = 10 // of a delivery
	retryDoublings = 3  // and then every eight gaps
	lifeFactor     = 7  // halves of a keep-alive: 3.5
	leastKeepAlive = 5  // seconds
	mostKeepAlive  = 3600
	challengeEvery = 1000 // milliseconds between two q of a session
	movedBelow     = 8    // how far below the newest the number of a device that moved may be
	pingsWaiting   = 8    // answers to p that wait for deliveries
	lateAnswers    = 8    // answers that wait because of a device's pace
	listedOverTCP  = 15_000
	tcpDatagram    = 65_535 // what a registration over TCP is told
	lastSeq        = 1<<32 - 1
)

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Member == nil {
		o.Member = func(s *Session) any { return s }
	}
	if o.Wake == nil {
		o.Wake = func() {}
	}
	return o
}
