package bridge

import "net/netip"

// Departure is why the last device of a sender's name is not connected any more, as far as
// its protocol noticed. Callbacks have none.
type Departure uint8

const (
	LeftUnnoticed Departure = iota
	LeftByGoodbye           // it said so: an MQTT DISCONNECT, the bye of session frames, the close of a WebSocket
	LeftBySilence           // it sent nothing for as long as its session or keep-alive allows
	LeftByLoss              // its connection was closed or broke, without a goodbye
	LeftByMistake           // it sent what its protocol does not allow
	LeftTooSlow             // it read too slowly, and was cut off
)

var departures = [...]string{"", "goodbye", "silence", "connection", "mistake", "slow"}

func (d Departure) String() string { return departures[d] }

// Left notes why a hold's client is not connected any more, before Away or Release. Until
// the client is present again, the first reason counts.
func (hd *Hold) Left(why Departure) { hd.left.CompareAndSwap(0, uint32(why)) }

// Left does the same for a device, before Close.
func (d *Device) Left(why Departure) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hold != nil {
		d.hold.Left(why)
	}
}

// departure is the last one of a sender. Hub.mu guards it.
type departure struct {
	via  Protocol
	why  Departure
	from *netip.AddrPort // where its device was; nil: not known
}

// Parted notes why a stream or a mailbox of a sender has ended. Unless that is because nothing was
// heard of it, it was there until now.
func (hs Holds) Parted(s *Sender, via Protocol, why Departure) {
	h := hs.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.left = departure{via: via, why: why, from: s.left.from}
	if why != LeftBySilence {
		h.Seen(s)
	}
}

// departure returns why a hold's client is not connected; false: it was no device.
func (hd *Hold) departure() (d departure, ok bool) {
	via := hd.via.Load()
	if via == 0 {
		return d, false
	}
	return departure{Protocol(via - 1), Departure(hd.left.Load()), hd.from.Load()}, true
}
