package session_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/wire/frame"
	"watchtower/wire/session"
)

// fuzzer has devices that do what a string of bytes says: each step is an action, a
// device and an argument.
type fuzzer struct {
	*bench
	devices []*device
	history [][]byte // frames that were sent, to be replayed
	said    int
}

// FuzzStates runs the state machine. Whatever happens, each broadcast is executed at most
// once, a delivery has the tag and the size of its addressee, and in the end everything
// is forgotten.
func FuzzStates(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, 0, 1, 3, 0, 1, 4, 0, 0})
	f.Add([]byte{0, 0, 3, 0, 1, 1, 2, 0, 1, 2, 1, 1, 3, 1, 0, 3, 0, 0, 7, 0, 200, 6, 0, 90, 5, 0, 1, 9, 0, 3, 10, 0, 7, 8, 0, 0})
	f.Add([]byte{0, 0, 17, 2, 0, 1, 6, 0, 200, 3, 0, 0, 3, 0, 0, 11, 0, 4, 12, 0, 1, 7, 0, 250, 7, 0, 255, 13, 0, 5, 0, 1, 9, 0, 2, 9})
	f.Fuzz(func(t *testing.T, program []byte) {
		z := &fuzzer{bench: newBench(t, func(o *session.Options) { o.SessionQueue, o.UDPSessions = 6, 3 }, bridge.Options{Limits: config.Limits{SenderChannels: 2, MessageBytes: 1000}})}
		for i, from := range []netip.AddrPort{alice, bob, eve, at(1)} {
			z.devices = append(z.devices, &device{bench: z.bench, at: from, id: uint32(i + 1)})
		}
		for ; len(program) >= 3 && len(z.history) < 500; program = program[3:] {
			z.step(program[0], z.devices[int(program[1])%len(z.devices)], program[2])
		}
		z.now = z.now.Add(23 * time.Hour)
		for z.table.Advance(&z.out) >= 0 {
			z.see(z.take())
		}
		require.Zero(t, z.table.Len())
		require.Empty(t, z.hub.Directory().Channels())
	})
}

func (z *fuzzer) step(action byte, d *device, arg byte) {
	channel := uint32(arg%3) + 1
	switch action % 14 {
	case 0:
		z.register(d, arg)
	case 1:
		z.send(d, frame.Leave, arg, ids(channel))
	case 2:
		z.send(d, frame.Join, arg, ids(channel, channel+arg32(arg, 4)))
	case 3:
		z.said++
		z.send(d, frame.Broadcast, arg, broadcast(fmt.Sprintf("said %d %0*d", z.said, int(arg)*4, 0), channel))
	case 4:
		z.said++
		z.send(d, frame.Send, arg, send(fmt.Sprint("said ", z.said, " "), channel, z.devices[arg%4].id))
	case 5:
		z.see(d.delivered(uint32(arg % 8)))
	case 6:
		z.send(d, frame.Bye, arg, seconds(uint16(arg)*250))
	case 7:
		z.see(z.pass(time.Duration(arg) * time.Duration(arg) * 10 * time.Millisecond))
	case 8:
		z.send(d, frame.Ping, arg, nil)
	case 9: // a replay, from another device's address
		if len(z.history) > 0 {
			z.see(z.handle(d.at, bytes.Clone(z.history[int(arg)%len(z.history)])))
		}
	case 10: // a number left out, or used again
		d.seq += uint32(int32(int8(arg)))
	case 11: // moved
		d.at = at(int(arg % 4))
	case 12: // damaged on the way
		if len(z.history) > 0 {
			raw := append([]byte(nil), z.history[len(z.history)-1]...)
			raw[int(arg)%len(raw)] ^= 1 + arg>>4
			z.see(z.handle(d.at, raw))
		}
	case 13: // anything, with a right tag
		z.send(d, frame.Op('a'+arg%26), arg, []byte{arg, 0, 0, 0, arg, 1, 0, 0}[:arg%9])
	}
}

func arg32(arg, n byte) uint32 { return uint32(arg>>4) % uint32(n) }

func (z *fuzzer) register(d *device, arg byte) {
	reg := frame.Registration{
		Version: 1, CNonce: newNonce(), KeepAlive: uint16(arg) * 20, MaxDatagram: uint16(arg) * 8, Pace: arg & 0x30,
		Options: frame.Options(arg & 7).WithWindow(int(arg >> 5)),
	}
	if arg&8 != 0 {
		reg.Name = []byte{'a' + arg>>6}
	}
	answer := z.handle(d.at, frame.AppendRegister(nil, reg, psk))
	require.Len(z, answer, 1)
	_, cookie, err := frame.ParseCookie(answer[0].Body)
	require.NoError(z, err)
	reg.Cookie = cookie
	raw := frame.AppendRegister(nil, reg, psk)
	z.history = append(z.history, raw)
	for _, a := range z.handle(d.at, raw) {
		if a.Op == frame.Answer && a.Body[0] == byte(frame.Register) {
			d.reg, d.id, d.seq = reg, a.ID, 0
			d.key = psk.SessionKey(reg.Options, reg.CNonce, reg.Cookie, d.id)
		}
	}
}

func (z *fuzzer) send(d *device, op frame.Op, flags byte, body []byte) {
	raw := d.frame(op, flags&0x0f, body)
	z.history = append(z.history, bytes.Clone(raw)) // the table shows a hidden body in place
	all := z.handle(d.at, raw)
	z.see(all)
	for _, m := range all { // a challenged device proves its address
		if m.Op == frame.Challenge && m.to == d.at {
			d.hide(m.raw)
			z.see(d.tell(frame.Ping, 0, m.Body))
		}
	}
}

// see checks the datagrams that were sent: a delivery carries the tag of its session and,
// as long as the session lives, fits its device. Nothing was executed twice.
func (z *fuzzer) see(all []sent) {
	for _, m := range all {
		require.LessOrEqual(z, len(m.raw), frame.MaxDatagram)
		for _, d := range z.devices {
			if m.Op == frame.Delivery && d.id == m.ID && d.key.Verify(d.hide(bytes.Clone(m.raw))) {
				require.LessOrEqual(z, len(m.raw), int(min(max(d.reg.MaxDatagram, 64), 1200)))
			}
		}
	}
	asked := 0 // each of them names one channel, and one receiver
	for _, raw := range z.history {
		if raw[0] == byte(frame.Broadcast) || raw[0] == byte(frame.Send) {
			asked++
		}
	}
	in, _ := z.hub.Counters().Messages(viaUDP)
	require.LessOrEqual(z, int(in), asked, "executed twice")
}
