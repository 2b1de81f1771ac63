// Package basic executes the basic frames of the wire protocol: it turns them
// into the verbs of bridge, answers them, and knows which client has which id
// and until when. It moves no bytes: udp and tcp hand it frames and send what it
// answers. It has no socket, no goroutine and no timer, and reads the clock it
// was given.
//
// The owner of an id differs by transport. Over UDP (Table) it is an address and port,
// for as long as frames come from there. Over TCP (Conn) it is the connection.
package basic

import (
	"cmp"
	"net/netip"
	"time"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/wire"
)

// The limits of unconfirmed ids, those that were registered over UDP and have
// not been used yet (docs/protocol.md, "Over UDP").
const (
	UnconfirmedFor   = 10 * time.Second
	UnconfirmedLimit = 10_000
)

// Forgotten is for an unconfirmed registration that made room for a newer one.
var Forgotten = bridge.NewReason("forgotten")

// Options are the rules for basic frames. The sections are shared, and only read.
type Options struct {
	Via bridge.Protocol
	*config.Wire
	*config.Limits                                 // for Table; Conn does not use them
	Gateway          uint32                        // the gateway's number, for W
	TCPPort          func() uint16                 // its TCP port, for W; nil or 0: none
	UnconfirmedLimit int                           // 0: the constant
	Source           func(netip.Addr) netip.Prefix // the prefix that counts as one address; nil: the address itself
	Now              func() time.Time              // nil: time.Now
	Door             Door                          // nil: open to everybody

	// Misread is called for each frame that is malformed, after it was counted. Nil: nobody is
	// told.
	Misread func(from netip.Addr, why bridge.Reason)
}

// Door decides whose keys are checked, and is told the results. It is not asked about
// clients that are registered.
type Door interface {
	AdmitKey(from netip.Addr) bool
	WrongKey(from netip.Addr)
	Proved(from netip.Addr) // the client has really this address
}

type openDoor struct{}

func (openDoor) AdmitKey(netip.Addr) bool { return true }
func (openDoor) WrongKey(netip.Addr)      {}
func (openDoor) Proved(netip.Addr)        {}

func (o Options) withDefaults() Options {
	o.UnconfirmedLimit = cmp.Or(o.UnconfirmedLimit, UnconfirmedLimit)
	if o.Misread == nil {
		o.Misread = func(netip.Addr, bridge.Reason) {}
	}
	if o.TCPPort == nil {
		o.TCPPort = func() uint16 { return 0 }
	}
	if o.Source == nil {
		o.Source = func(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Door == nil {
		o.Door = openDoor{}
	}
	return o
}

// where is the answer to W.
func (o Options) where() wire.Where {
	return wire.Where{Version: wire.Version, TCPPort: o.TCPPort(), Gateway: o.Gateway}
}

// mayRegister reports whether an R or K gets an id: R if no key is needed, K with the
// right key. An R without a needed key does not count as a wrong key.
func (o Options) mayRegister(hub *bridge.Hub, r wire.Request, from netip.Addr, registered bool) bool {
	switch {
	case o.BasicKey == "" && hub.Open():
		return true
	case r.Op == wire.OpRegister, !registered && !o.Door.AdmitKey(from):
		return false
	case !o.key(hub, string(r.Key)):
		o.Door.WrongKey(from)
		return false
	}
	return true
}

// key reports whether a key is the right one for basic frames, which may differ from the
// gateway's secret key.
func (o Options) key(hub *bridge.Hub, shown string) bool {
	if o.BasicKey != "" {
		return bridge.SameKey(o.BasicKey, shown)
	}
	return hub.CheckKey(shown)
}

// Delivery is a message as a member on the wire gets it. The low byte of Type is the
// message's type, the high byte its content hint.
func Delivery(m *bridge.Message) wire.Delivery {
	return wire.Delivery{
		Sender: uint32(m.Sender), Channel: uint32(m.Channel),
		Type: uint16(m.Type) | uint16(m.Hint)<<8, Data: m.Data,
	}
}
