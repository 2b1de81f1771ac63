package arduino_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/wire/basic"
	"watchtower/wire/frame"
	"watchtower/wire/session"
)

var via = bridge.NewProtocol("puppets")

// world is a gateway's table of sessions, a puppet, and a network between them. Its clock
// stands still until it is moved.
type world struct {
	testing.TB
	dice  *rand.Rand
	loss  int // per cent of the datagrams, each way; a quarter as many come twice, and as many late
	hub   *bridge.Hub
	link  *bridge.Link
	table *session.Table
	out   session.Out
	begun time.Time
	now   time.Duration
	p     *puppet
	at    netip.AddrPort // the puppet's address
	air   []flight
	sends int                   // datagrams of the puppet
	mute  bool                  // the gateway hears nothing
	drops func(raw []byte) bool // datagrams to the puppet that get lost; nil: none
}

// theKey is the shared key, and each name's.
type theKey struct{}

func (theKey) Shared() frame.Key { return puppetKey }
func (theKey) Required() bool    { return false }
func (theKey) Own([]byte) ([]session.OwnKey, bool) {
	return []session.OwnKey{{Key: puppetKey, By: bridge.ByShared + 1}}, true
}

// flight is a datagram on its way.
type flight struct {
	at   time.Duration
	up   bool
	from netip.AddrPort
	raw  []byte
}

const channel = 5

func newWorld(t testing.TB, program string, seed uint64, loss int) *world {
	w := &world{TB: t, dice: rand.New(rand.NewPCG(seed, 1)), loss: loss, begun: time.Unix(1e9, 0), at: netip.MustParseAddrPort("192.0.2.1:1000")}
	w.boot()
	w.p = newPuppet(t, program)
	w.p.tell('B')
	return w
}

// boot starts the gateway, which knows nothing.
func (w *world) boot() {
	settings := config.Default()
	clock := func() time.Time { return w.begun.Add(w.now) }
	w.hub, _ = harness.Hub(w, via, bridge.Options{Now: clock, OwnKeys: true})
	w.link = w.hub.AddLink(via, 1024, 0)
	w.table = session.NewTable(w.hub, theKey{},
		session.Options{Via: via, Wire: &settings.Wire, Limits: &settings.Limits, Now: clock, Wake: func() {}})
}

// fly sends a datagram through the network.
func (w *world) fly(up bool, at netip.AddrPort, raw []byte) {
	for n := 1; n > 0; n-- {
		if w.dice.IntN(100) < w.loss {
			continue
		}
		if n == 1 && w.dice.IntN(400) < w.loss {
			n = 3 // it comes twice
		}
		delay := 5 * time.Millisecond
		if w.dice.IntN(400) < w.loss {
			delay += time.Duration(w.dice.IntN(300)) * time.Millisecond
		}
		w.air = append(w.air, flight{w.now + delay, up, at, slices.Clone(raw)})
	}
}

// unit is that of the puppet's clock: between two of them it sends nothing by itself.
const unit = 256 * time.Millisecond

// next is when something may happen next.
func (w *world) next() time.Duration {
	at := w.now/unit*unit + unit
	for _, f := range w.air {
		at = min(at, f.at)
	}
	return max(at, w.now+time.Millisecond)
}

// pass lets time pass, until a condition is true; nil: until the end.
func (w *world) pass(d time.Duration, until func() bool) bool {
	for end := w.now + d; w.now < end; {
		if until != nil && until() {
			return true
		}
		w.now = min(w.next(), end)
		w.turn()
	}
	return until == nil || until()
}

// turn moves what is due.
func (w *world) turn() {
	w.p.loop(w.now)
	for _, raw := range w.p.taken() {
		w.sends++
		w.fly(true, w.at, raw)
	}
	due := w.air
	w.air = nil
	for _, f := range due {
		switch {
		case f.at > w.now:
			w.air = append(w.air, f)
		case f.up && !w.mute:
			w.table.Handle(f.from, f.raw, &w.out)
		case !f.up && w.drops != nil && w.drops(f.raw):
		case !f.up && f.from == w.at:
			w.p.give(w.now, f.raw)
			for _, raw := range w.p.taken() {
				w.sends++
				w.fly(true, w.at, raw)
			}
		}
	}
	w.deliver()
	w.table.Advance(&w.out) // late by a unit at most
	for i := range w.out.Len() {
		to, raw := w.out.At(i)
		w.fly(false, to, raw)
	}
	w.out.Reset()
}

// deliver gives the table its messages.
func (w *world) deliver() {
	w.link.Flush(func(jobs []bridge.Job) {
		for _, j := range jobs {
			delivery := frame.AppendDelivery(nil, basic.Delivery(j.Message))
			for _, a := range j.To {
				switch m := a.Member.(type) {
				case *session.Session:
					if a.Wants(j.Message) {
						w.table.Deliver(m, j.Message, delivery, &w.out)
					}
				case *ear:
					if a.Wants(j.Message) {
						m.all = append(m.all, string(basic.Delivery(j.Message).Data))
					}
				}
			}
			j.Done(w.hub.Counters(), via, 0, 0)
		}
	})
}

// joined registers the puppet, and joins the channel.
func (w *world) joined() {
	w.Helper()
	require.True(w, w.pass(2*time.Minute, func() bool { return slices.Contains(w.p.dones, done{'r', 0}) }))
	w.p.over()
	w.did(0, 'j', channel, 0, 1, "")
}

// did makes a request, and lets time pass until it is over with a code.
func (w *world) did(code int, op byte, ch, to uint32, flags byte, data string) {
	w.Helper()
	require.Zero(w, w.p.ask(op, ch, to, flags, data))
	var got []done
	require.True(w, w.pass(10*time.Minute, func() bool {
		got = slices.DeleteFunc(w.p.over(), func(d done) bool { return d.op != op })
		return len(got) > 0
	}), "%c is not over", op)
	require.Equal(w, []done{{op, code}}, got)
}

// ear is another sender on a channel, over a network that loses nothing.
type ear struct {
	*world
	id      uint32
	channel bridge.Channel
	sender  *bridge.Sender
	all     []string
}

// ear joins a channel as another sender.
func (w *world) ear(ch bridge.Channel) *ear {
	hold := w.hub.Holds().New(func() {})
	w.Cleanup(func() { w.hub.Holds().Release(hold) })
	e := &ear{world: w, id: uint32(hold.Sender().ID()), channel: ch, sender: hold.Sender()}
	require.NoError(w, w.hub.Attach(hold.Sender(), ch, &bridge.Attachment{Via: via, Broadcasts: true, Sends: true, NoEcho: true, Member: e}))
	return e
}

// say says something to all on the channel, or to some.
func (e *ear) say(data string, to ...bridge.SenderID) {
	_, err := e.hub.Publish(e.sender, bridge.Publication{Channels: []bridge.Channel{e.channel}, Receivers: to, Content: bridge.Content{Data: []byte(data)}})
	require.NoError(e, err)
	e.deliver()
}
