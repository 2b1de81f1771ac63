package session_test

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/wire"
	"watchtower/wire/basic"
	"watchtower/wire/frame"
	"watchtower/wire/session"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var psk = frame.DeviceKey("")

// bench is a table whose clock stands still until it is moved.
type bench struct {
	testing.TB
	hub   *bridge.Hub
	link  *bridge.Link
	table *session.Table
	now   time.Time
	out   session.Out
	wakes int
}

// options are those of a gateway with nothing configured.
func options() session.Options {
	settings := config.Default()
	return session.Options{Via: viaUDP, Wire: &settings.Wire, Limits: &settings.Limits}
}

// joins returns limits with which a sender may join so many channels.
func joins(channels int) config.Limits {
	l := config.Default().Limits
	l.SenderChannels = channels
	return l
}

// newBench returns a table and its hub. Change may be nil.
func newBench(t testing.TB, change func(*session.Options), hub bridge.Options) *bench {
	b := &bench{TB: t, now: time.Unix(1e9, 0)}
	opts := options()
	if change != nil {
		change(&opts)
	}
	opts.Now = func() time.Time { return b.now }
	opts.Via = viaUDP
	opts.Wake = func() { b.wakes++ }
	hub.Now = opts.Now
	b.hub, _ = harness.Hub(t, viaUDP, hub)
	b.link = b.hub.AddLink(viaUDP, 1024, 0)
	b.table = session.NewTable(b.hub, session.SharedKey(func() frame.Key { return psk }), opts)
	return b
}

func (b *bench) dropped(r bridge.Reason) int { return int(b.hub.Counters().Dropped(viaUDP, r)) }

// sent is a datagram that the table sent.
type sent struct {
	to  netip.AddrPort
	raw []byte
	frame.Frame
}

// take empties out.
func (b *bench) take() (all []sent) {
	for i := range b.out.Len() {
		to, raw := b.out.At(i)
		raw = append([]byte(nil), raw...)
		f, err := frame.Parse(raw)
		require.NoError(b, err)
		all = append(all, sent{to, raw, f})
	}
	b.out.Reset()
	return all
}

// handle gives the table a datagram, and then its messages to the members.
func (b *bench) handle(from netip.AddrPort, datagram []byte) []sent {
	b.table.Handle(from, datagram, &b.out)
	b.deliver()
	return b.take()
}

func (b *bench) deliver() {
	b.link.Flush(func(jobs []bridge.Job) {
		for _, j := range jobs {
			delivery := frame.AppendDelivery(nil, basic.Delivery(j.Message))
			for _, a := range j.To {
				if a.Wants(j.Message) {
					b.table.Deliver(a.Member.(*session.Session), j.Message, delivery, &b.out)
				}
			}
			j.Done(b.hub.Counters(), viaUDP, 0, 0)
		}
	})
}

// pass lets time pass, as a server's timer would.
func (b *bench) pass(d time.Duration) (all []sent) {
	end := b.now.Add(d)
	for {
		next := b.table.Advance(&b.out)
		all = append(all, b.take()...)
		if next < 0 || b.now.Add(next).After(end) {
			break
		}
		b.now = b.now.Add(next)
	}
	b.now = end
	b.table.Advance(&b.out)
	return append(all, b.take()...)
}

// device speaks session frames by means of the codec.
type device struct {
	*bench
	at  netip.AddrPort
	reg frame.Registration
	psk frame.Key
	key frame.Key
	id  uint32
	seq uint32
}

var (
	alice = netip.MustParseAddrPort("192.0.2.1:1000")
	bob   = netip.MustParseAddrPort("[2001:db8::2]:1000")
	eve   = netip.MustParseAddrPort("192.0.2.66:666")
)

var nonces uint64

func newNonce() (n [8]byte) {
	nonces++
	binary.LittleEndian.PutUint64(n[:], nonces)
	return n
}

// register registers a device; change may be nil.
func (b *bench) register(at netip.AddrPort, change func(*frame.Registration)) *device {
	b.Helper()
	d := &device{bench: b, at: at, psk: psk}
	d.reg = frame.Registration{Version: 1, KeepAlive: 60, MaxDatagram: 1200}
	if change != nil {
		change(&d.reg)
	}
	d.again()
	return d
}

// again registers once more, with a new nonce.
func (d *device) again() {
	d.Helper()
	d.reg.CNonce, d.reg.Cookie = newNonce(), [8]byte{}
	answer := d.handle(d.at, frame.AppendRegister(nil, d.reg, d.psk))
	require.Len(d, answer, 1)
	_, cookie, err := frame.ParseCookie(answer[0].Body)
	require.NoError(d, err)
	d.reg.Cookie = cookie
	answer = d.handle(d.at, frame.AppendRegister(nil, d.reg, d.psk))
	require.Len(d, answer, 1)
	require.Equal(d, frame.Answer, answer[0].Op, "code %d", answer[0].Code())
	d.id, d.seq = answer[0].ID, 0
	d.key = d.psk.SessionKey(d.reg.Options, d.reg.CNonce, d.reg.Cookie, d.id)
	require.True(d, d.key.Verify(answer[0].raw))
}

// frame makes the device's next frame.
func (d *device) frame(op frame.Op, flags byte, body []byte) []byte {
	d.seq++
	return d.hide(frame.Append(nil, frame.Frame{Op: op, Flags: flags, ID: d.id, Seq: d.seq, Body: body}, d.key))
}

// hide hides the body of a frame, or shows it, if the device asked for that.
func (d *device) hide(raw []byte) []byte {
	if d.reg.Options&frame.Hidden != 0 {
		d.key.Mask(raw)
	}
	return raw
}

// tell sends a frame, and returns all that the table sends then.
func (d *device) tell(op frame.Op, flags byte, body []byte) []sent {
	return d.handle(d.at, d.frame(op, flags, body))
}

// ask sends a frame that is answered. It returns the code and the result.
func (d *device) ask(op frame.Op, body []byte) (frame.Code, []byte) {
	d.Helper()
	for _, s := range d.tell(op, frame.AckWanted, body) {
		if s.Op != frame.Answer && s.Op != frame.Error {
			continue
		}
		require.Equal(d, d.seq, s.Seq)
		require.Equal(d, d.id, s.ID)
		require.Equal(d, d.at, s.to)
		require.True(d, d.key.Verify(d.hide(s.raw)))
		require.Equal(d, byte(op), s.Body[0])
		return s.Code(), s.Body[1:]
	}
	require.Fail(d, "not answered", "%c", op)
	return 0, nil
}

func (d *device) must(op frame.Op, body []byte) []byte {
	d.Helper()
	code, result := d.ask(op, body)
	require.Equal(d, frame.OK, code)
	return result
}

func (d *device) delivered(seq uint32) []sent {
	return d.handle(d.at, frame.Append(nil, frame.Frame{Op: frame.Delivered, ID: d.id, Seq: seq}, d.key))
}

func ids(list ...uint32) []byte { return wire.AppendIDs(nil, list...) }

func broadcast(data string, channels ...uint32) []byte {
	return append(append([]byte{byte(len(channels))}, ids(channels...)...), data...)
}

func send(data string, channel uint32, to ...uint32) []byte {
	b := append([]byte{1}, ids(channel)...)
	return append(append(append(b, byte(len(to))), ids(to...)...), data...)
}

func seconds(n uint16) []byte { return binary.LittleEndian.AppendUint16(nil, n) }

// ops returns the ops of what was sent, in its order.
func ops(all []sent) string {
	var s []byte
	for _, f := range all {
		s = append(s, byte(f.Op))
	}
	return string(s)
}

// heard are the data of deliveries.
func heard(all []sent) (data []string) {
	for _, f := range all {
		if f.Op == frame.Delivery {
			data = append(data, string(f.Body[frame.DeliveryFixed:]))
		}
	}
	return data
}

func acknowledge(window int) func(*frame.Registration) {
	return func(r *frame.Registration) { r.Options = frame.Acknowledge.WithWindow(window) }
}

func named(name string) func(*frame.Registration) {
	return func(r *frame.Registration) { r.Name = []byte(name) }
}
