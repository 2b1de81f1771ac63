package session_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	client "watchtower/device"
	"watchtower/wire/frame"
	"watchtower/wire/session"
)

// station is a table and clients of package device, on a radio that loses, doubles and
// delays datagrams. All use the clock of a synctest bubble: an hour takes seconds.
type station struct {
	*bench
	in    chan heardFrom
	later chan bridge.Publication
	end   chan struct{}
	done  chan struct{}

	mu     sync.Mutex
	random *rand.Rand
	loss   float64
	lose   func(raw []byte, toDevice bool) bool // loses more datagrams; may be nil
	radios map[netip.AddrPort]*radio
	ports  uint16
	says   *bridge.Hold
}

type heardFrom struct {
	at  netip.AddrPort
	raw []byte
}

func newStation(t *testing.T, loss float64) *station {
	st := &station{
		in: make(chan heardFrom, 1024), later: make(chan bridge.Publication), end: make(chan struct{}), done: make(chan struct{}),
		random: rand.New(rand.NewPCG(3, 4)), loss: loss, radios: map[netip.AddrPort]*radio{},
	}
	st.bench = newBench(t, nil, bridge.Options{Now: time.Now})
	wake := make(chan struct{}, 1)
	opts := options()
	opts.Wake = func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	st.table = session.NewTable(st.hub, session.SharedKey(func() frame.Key { return psk }), opts)
	st.says = st.hub.Holds().New(func() {})
	require.NoError(t, st.hub.Attach(st.says.Sender(), 7, &bridge.Attachment{Via: viaHTTP, Broadcasts: true}))
	go st.run(wake)
	t.Cleanup(func() {
		st.table.Close()
		close(st.end)
		<-st.done
	})
	return st
}

func (st *station) run(wake chan struct{}) {
	defer close(st.done)
	timer := time.NewTimer(0)
	for {
		select {
		case <-st.end:
			return
		case h := <-st.in:
			st.table.Handle(h.at, h.raw, &st.out)
		case p := <-st.later:
			_, _ = st.hub.Publish(st.says.Sender(), p)
		case <-wake:
		case <-timer.C:
		}
		st.deliver()
		if next := st.table.Advance(&st.out); next >= 0 {
			timer.Reset(next)
		}
		for _, s := range st.take() {
			st.mu.Lock()
			r := st.radios[s.to]
			st.mu.Unlock()
			if r != nil {
				st.carry(s.raw, true, func() { r.receive(s.raw) })
			}
		}
	}
}

// carry makes a datagram arrive, get lost, or arrive twice.
func (st *station) carry(raw []byte, toDevice bool, arrive func()) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.random.Float64() < st.loss || st.lose != nil && st.lose(raw, toDevice) {
		return
	}
	for range 1 + st.random.IntN(20)/19 {
		late := 5 * time.Millisecond
		if st.loss > 0 && st.random.IntN(20) == 0 {
			late += time.Duration(st.random.IntN(300)) * time.Millisecond
		}
		time.AfterFunc(late, arrive)
	}
}

func (st *station) say(data string) {
	st.later <- bridge.Publication{Channels: []bridge.Channel{7}, Content: bridge.Content{Data: []byte(data)}}
}

// dial is client.Options.Dial.
func (st *station) dial(context.Context, string, string) (net.Conn, error) {
	r := &radio{st: st, came: make(chan []byte, 256), closed: make(chan struct{})}
	r.move()
	return r, nil
}

// radio is a device's connection.
type radio struct {
	net.Conn // nil: the methods that are not below are not used
	st       *station
	at       netip.AddrPort
	came     chan []byte
	once     sync.Once
	closed   chan struct{}
}

// move gives the device another port. The device does not notice.
func (r *radio) move() {
	r.st.mu.Lock()
	defer r.st.mu.Unlock()
	delete(r.st.radios, r.at)
	r.st.ports++
	r.at = netip.AddrPortFrom(alice.Addr(), r.st.ports)
	r.st.radios[r.at] = r
}

func (r *radio) Write(b []byte) (int, error) {
	raw := append([]byte(nil), b...)
	r.st.mu.Lock()
	at := r.at
	r.st.mu.Unlock()
	r.st.carry(raw, false, func() {
		select {
		case r.st.in <- heardFrom{at, raw}:
		case <-r.st.done:
		}
	})
	return len(b), nil
}

func (r *radio) receive(raw []byte) {
	select {
	case r.came <- raw:
	default:
	}
}

func (r *radio) Read(b []byte) (int, error) {
	select {
	case raw := <-r.came:
		return copy(b, raw), nil
	case <-r.closed:
		return 0, net.ErrClosed
	}
}

func (r *radio) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}

// device is a client of package device that has joined channel 7.
func (st *station) device(opts client.Options) (*client.Client, *radio) {
	var at *radio
	opts.Key = &psk
	opts.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := st.dial(ctx, network, address)
		at = conn.(*radio)
		return conn, err
	}
	opts.OnSession = func(uint32) { assert.Fail(st, "it registered again") }
	c, err := client.Dial(context.Background(), "udp", "", opts)
	require.NoError(st, err)
	require.NoError(st, c.Join(context.Background(), 7))
	return c, at
}

// A device listens to a channel with a message a second, and says nothing by itself. It
// hears every message, once and in order. Its acknowledgements show that it is there, and
// it makes sure that the gateway still knows it.
func TestAnHourOfABusyChannel(t *testing.T) {
	for _, c := range []struct {
		loss   float64
		window int
		hidden bool
	}{{0, 4, false}, {0, 1, false}, {0.05, 1, false}, {0.1, 4, false}, {0.1, 15, true}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := newStation(t, c.loss)
				d, _ := st.device(client.Options{Acknowledge: true, Window: c.window, Hidden: c.hidden})
				var got []string
				for i := range 3600 {
					st.say(fmt.Sprint(i))
					time.Sleep(time.Second)
					for len(d.Messages()) > 0 {
						m := <-d.Messages()
						got = append(got, string(m.Data))
					}
				}
				time.Sleep(time.Minute)
				for len(d.Messages()) > 0 {
					m := <-d.Messages()
					got = append(got, string(m.Data))
				}
				require.Len(t, got, 3600)
				for i, s := range got {
					require.Equal(t, fmt.Sprint(i), s)
				}
				assert.Zero(t, st.dropped(bridge.QueueFull)+st.dropped(bridge.Failed))
				assert.Zero(t, st.dropped(bridge.Forged))
				_ = d.Close(context.Background())
			})
		})
	}
}

// A message that was given up leaves a gap, and delays those after it no longer than the
// gateway tries.
func TestWhatWasGivenUpHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, 0)
		d, _ := st.device(client.Options{Acknowledge: true, Window: 4})
		st.lose = func(raw []byte, toDevice bool) bool {
			f, err := frame.Parse(raw)
			return toDevice && err == nil && f.Op == frame.Delivery && string(f.Body[frame.DeliveryFixed:]) == "1"
		}
		for i := range 4 {
			st.say(fmt.Sprint(i))
		}
		time.Sleep(time.Second)
		assert.Len(t, d.Messages(), 1, "2 and 3 wait for 1")
		time.Sleep(90 * time.Second)
		assert.Equal(t, 1, st.dropped(bridge.Failed))
		assert.Len(t, d.Messages(), 3, "nothing else was said")
		for i := range 4 {
			st.say([]string{"4", "1", "5", "6"}[i])
		}
		time.Sleep(60 * time.Second)
		assert.Len(t, d.Messages(), 4, "5 and 6 wait")
		time.Sleep(12 * time.Second)
		assert.Len(t, d.Messages(), 6, "1 was given up, and nothing else was said")
		st.say("7")
		time.Sleep(time.Second)
		var got []string
		for len(d.Messages()) > 0 {
			m := <-d.Messages()
			got = append(got, string(m.Data))
		}
		assert.Equal(t, []string{"0", "2", "3", "4", "5", "6", "7"}, got)
		_ = d.Close(context.Background())
	})
}

// A device moves while its request is unanswered, and then again. It goes on within three
// seconds, whichever answer it missed and however long it has been trying.
func TestMovingTwiceWithinARequest(t *testing.T) {
	for _, after := range []time.Duration{0, 500, 1500, 2900, 3100, 6900, 7100, 20_000} {
		synctest.Test(t, func(t *testing.T) {
			st := newStation(t, 0)
			d, at := st.device(client.Options{KeepAlive: time.Hour, Hidden: after%1000 != 0})
			for range 8 - 4 { // some of the gateway's places for answers are taken
				require.NoError(t, d.Ping(context.Background()))
			}
			deaf := true
			st.lose = func(raw []byte, toDevice bool) bool {
				return deaf && toDevice && raw[0] == byte(frame.Answer) && raw[8] == 6 // the broadcast's: j, 4 p and it
			}
			at.move()
			answered := make(chan error, 1)
			go func() { answered <- d.Broadcast(context.Background(), client.Text, []byte("on"), 7) }()
			time.Sleep(after * time.Millisecond)
			synctest.Wait()
			at.move()
			st.mu.Lock()
			deaf = false
			st.mu.Unlock()
			began := time.Now()
			require.NoError(t, <-answered)
			assert.Less(t, time.Since(began), 3*time.Second, "after %d ms", after)
			time.Sleep(time.Second)
			assert.Len(t, d.Messages(), 1, "said once")
			_ = d.Close(context.Background())
		})
	}
}

// An outage uses up no cnonce: firmware keeps them in EEPROM.
func TestAnOutageSpendsNoNonce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := newStation(t, 0)
		st.lose = func([]byte, bool) bool { return true }
		spent := 0
		ctx, cancel := context.WithTimeout(context.Background(), 24*time.Hour)
		defer cancel()
		_, err := client.Dial(ctx, "udp", "", client.Options{Key: &psk, Dial: st.dial, Nonce: func() [8]byte { spent++; return newNonce() }})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 1, spent)
	})
}
