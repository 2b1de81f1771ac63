// Package device is a client of the gateway's session frames, over UDP or TCP: it does in
// Go what firmware does in C. It repeats unanswered requests, hears each message once,
// acknowledges it, and keeps its session alive. If the session is gone, it registers and
// joins its channels again. If its address changes, it proves the new one.
//
//	c, err := device.Dial(ctx, "udp", "127.0.0.1:3033", device.Options{Secret: key, Acknowledge: true})
//	err = c.Join(ctx, 5)
//	err = c.Broadcast(ctx, device.Text, []byte("hello"), 5)
//	m := <-c.Messages()
//
// A command that was answered was executed exactly once. A command that fails with
// ErrLost was executed once or not at all.
//
//	client.go    Dial, Close, the verbs      register.go  r, c and a; joining again
//	request.go   a request and its answer    receive.go   what the gateway sends
//	conn.go      datagrams and streams       keep.go      keep-alive, and the next session
//	order.go     messages in their order     move.go      another address
package device

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"time"

	"watchtower/wire"
	"watchtower/wire/frame"
)

// Options of a Client. Zero values stand for defaults, which follow the last semicolon.
type Options struct {
	Secret string     // the gateway's secret key
	Key    *frame.Key // in place of Secret, for callers that have derived it already
	Own    bool       // Key is the device's own, of its Name
	Name   string     // up to 32 of A–Z a–z 0–9 _ . : -; empty: none

	KeepAlive   time.Duration // longest silence, in whole seconds, 5 s to 1 h; 1 min
	MaxDatagram int           // bytes of the largest datagram that the client can take, 64 to 1,200; 1,200
	Pace        time.Duration // least time between two datagrams to the client, up to 255 ms
	NoEcho      bool          // the client does not hear itself
	Hidden      bool          // bodies are hidden: needs a gateway that can do it, see ErrPlain
	Acknowledge bool          // the gateway repeats messages until the client has them
	Window      int           // how many of them may be outstanding, up to 15; 1

	RetryGap      time.Duration   // time to the first repetition, doubling up to 8 times as much; 1 s
	RegisterEvery time.Duration   // least time between two registrations that a hint asked for; 10 s
	Queue         int             // messages that wait to be taken from Messages; 1,024
	Nonce         func() [8]byte  // must never repeat among all devices with the key; nil: random
	Dial          DialFunc        // how the gateway is reached; nil: by the system's sockets
	OnSession     func(id uint32) // called after every later registration, when its channels are joined again; nil: not called
	OnFailure     func(err error) // called when a later registration fails, which is tried again: a Refused, or no answer; nil: not called
}

// DialFunc opens a connection. For "udp" it keeps the datagrams apart, and its Read
// returns net.ErrClosed once it is closed.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (o Options) withDefaults() Options {
	o.KeepAlive = cmp.Or(o.KeepAlive, time.Minute)
	o.MaxDatagram = cmp.Or(o.MaxDatagram, frame.MaxDatagram)
	o.Window = cmp.Or(o.Window, 1)
	o.RetryGap = cmp.Or(o.RetryGap, time.Second)
	o.RegisterEvery = cmp.Or(o.RegisterEvery, 10*time.Second)
	o.Queue = cmp.Or(o.Queue, 1024)
	if o.Key == nil {
		k := frame.DeviceKey(o.Secret)
		o.Key = &k
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
	if o.Nonce == nil {
		o.Nonce = func() (n [8]byte) {
			_, _ = rand.Read(n[:]) // never fails: it ends the program instead
			return n
		}
	}
	return o
}

// registration is what the options ask for.
func (o Options) registration(cnonce [8]byte) frame.Registration {
	r := frame.Registration{
		Version: frame.Version, Name: []byte(o.Name), CNonce: cnonce,
		KeepAlive:   uint16(min(o.KeepAlive/time.Second, 1<<16-1)),
		MaxDatagram: uint16(min(o.MaxDatagram, 1<<16-1)),
		Pace:        byte(min(o.Pace/time.Millisecond, 255)),
	}
	if o.Acknowledge {
		r.Options |= frame.Acknowledge
	}
	if o.NoEcho {
		r.Options |= frame.NoEcho
	}
	if o.Hidden {
		r.Options |= frame.Hidden
	}
	if o.Own {
		r.Options |= frame.OwnKey
	}
	r.Options = r.Options.WithWindow(o.Window)
	return r
}

// Hint says what the bytes of a message are meant to be.
type Hint byte

// The hints.
const (
	Opaque Hint = 0
	Text   Hint = 1
	JSON   Hint = 2
)

// Message is a message that the client hears.
type Message struct {
	Sender, Channel uint32
	Targeted        bool // it was sent to chosen members, this one among them
	Hint            Hint
	Truncated       bool // it did not fit into MaxDatagram, and was cut short
	Data            []byte
}

func message(d wire.Delivery, truncated bool) Message {
	return Message{
		Sender: d.Sender, Channel: d.Channel, Targeted: d.Type&0xff == 1, Hint: Hint(d.Type >> 8),
		Truncated: truncated, Data: append([]byte(nil), d.Data...),
	}
}

// ErrLost says that the session ended before a command was answered: it may
// have been executed.
var ErrLost = errors.New("device: the session ended before the answer came")

// ErrPlain says that the gateway does not hide bodies: it is older than that. The client
// sends nothing then.
var ErrPlain = errors.New("device: the gateway cannot hide bodies")

// ErrClosed says that the client was closed.
var ErrClosed = errors.New("device: closed")

// Refused is the error of a request that the gateway refuses.
type Refused struct {
	Op   frame.Op
	Code frame.Code
}

func (r Refused) Error() string {
	why := map[frame.Code]string{
		frame.UnknownID:    "the id is unknown or has expired",
		frame.NotJoined:    "a channel is not joined",
		frame.NotOnChannel: "a receiver is not on the channel",
		frame.BadRequest:   "malformed, or too large",
		frame.SlowDown:     "the gateway is behind, or could not write to its disk",
		frame.Full:         "a limit of the gateway is reached",
		frame.NotSupported: "not supported, or the name is protected",
		frame.NameHasKey:   "the name has a key of its own, or every device needs one",
	}[r.Code]
	return fmt.Sprintf("device: %c refused: %s (error %d)", r.Op, cmp.Or(why, "unknown reason"), r.Code)
}
