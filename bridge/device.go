package bridge

import (
	"slices"
	"sync"
)

// Device is what one registration on the wire holds: its sender, and one
// attachment for each channel that it joined. Its lock may be taken before the
// hub's, never after: the hub calls back without locks.
type Device struct {
	hub    *Hub
	via    Protocol
	noEcho bool
	member any // becomes Attachment.Member
	hold   *Hold

	mu     sync.Mutex
	joined byChannel[*Attachment]
	gone   bool
}

// NewDevice returns a device that has no sender yet.
func NewDevice(hub *Hub, via Protocol, noEcho bool, member any) *Device {
	return &Device{hub: hub, via: via, noEcho: noEcho, member: member}
}

// Register gives the device a sender of its own, without a name. By is the key that it
// showed. The hub calls end, without locks, if it deletes that sender.
func (d *Device) Register(by Proof, end func()) {
	d.mu.Lock() // end calls Close, which waits until there is a hold
	defer d.mu.Unlock()
	d.hold = d.hub.Holds().New(end)
	d.hub.mu.Lock()
	d.hub.countLocked(d.hold, by)
	d.hub.mu.Unlock()
	d.hold.Present(d.via)
}

// RegisterName gives the device the sender of a name (Holds.Name). If wait is not nil,
// the caller calls it before it answers the device.
func (d *Device) RegisterName(name string, by Proof, end func()) (wait func() error, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.hold, wait, err = d.hub.Holds().Name(Naming{Name: name, Lasting: true, By: by, Via: d.via}, end); err == nil {
		d.hold.Present(d.via)
	}
	return wait, err
}

// Claim makes the device the only speaker for its sender's name (Holds.Claim).
func (d *Device) Claim(displaced func()) { d.hub.Holds().Claim(d.hold, displaced) }

// Hold is what keeps the device's sender, once it is registered.
func (d *Device) Hold() *Hold { return d.hold }

// Gone reports whether the device was closed.
func (d *Device) Gone() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.gone
}

// Sender returns the device's sender, once it is registered.
func (d *Device) Sender() *Sender { return d.hold.Sender() }

// Close leaves all channels and gives the sender back, if it has one. It may be
// called again.
func (d *Device) Close() {
	d.mu.Lock()
	if !d.gone && d.hold != nil {
		d.hold.on = d.channelsLocked(goneChannels)
	}
	d.gone = true
	for _, on := range slices.Backward(d.joined) {
		d.hub.Detach(on.v)
	}
	d.joined = nil
	hold := d.hold
	d.mu.Unlock()
	if hold != nil {
		d.hub.Holds().Release(hold)
	}
}

// Join attaches the device once to each of the channels. After an error the device is on
// no channel that it was not on before.
func (d *Device) Join(channels ...Channel) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone {
		return fault(InvalidSender, "sender", "%d was deleted: register again", d.Sender().ID())
	}
	var fresh []Channel
	for _, c := range channels {
		if d.joined.get(c) != nil {
			continue
		}
		a := &Attachment{Via: d.via, Broadcasts: true, Sends: true, NoEcho: d.noEcho, Member: d.member}
		a.Ended = func() { d.ended(c, a) }
		if err := d.hub.Attach(d.Sender(), c, a); err != nil {
			d.leaveLocked(fresh)
			return err
		}
		d.joined.set(c, a)
		fresh = append(fresh, c)
	}
	return nil
}

// channelsLocked returns the first channels that the device is on.
func (d *Device) channelsLocked(most int) (on []Channel) {
	for _, j := range d.joined[:min(most, len(d.joined))] {
		on = append(on, j.channel)
	}
	return on
}

// ended notes that the hub ended an attachment.
func (d *Device) ended(c Channel, a *Attachment) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.joined.get(c) == a {
		d.joined.remove(c)
	}
}

// Leave ends the device's attachments to channels, joined or not.
func (d *Device) Leave(channels ...Channel) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leaveLocked(channels)
}

func (d *Device) leaveLocked(channels []Channel) {
	for _, c := range channels {
		if a := d.joined.get(c); a != nil {
			d.joined.remove(c)
			d.hub.Detach(a)
		}
	}
}
