package harness

import (
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Radio is a bad one: it loses, doubles and reorders the datagrams that it carries between devices
// and a gateway, each way.
type Radio struct {
	conn    *net.UDPConn // the devices' side
	to      string
	running sync.WaitGroup

	mu                 sync.Mutex
	loss, double, late float64
	random             *rand.Rand
	closed             bool
	ways               map[string]*net.UDPConn // to the gateway, by device
}

// NewRadio carries datagrams to an address until the test ends. It loses so many of 1, doubles a
// fifth, and has a third come up to 10 ms late.
func NewRadio(t testing.TB, to string, loss float64) *Radio {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	r := &Radio{loss: loss, double: 0.2, late: 0.3, conn: conn, to: to, random: rand.New(rand.NewPCG(1, 2)), ways: map[string]*net.UDPConn{}}
	r.running.Go(r.devices)
	t.Cleanup(func() {
		r.mu.Lock()
		r.closed = true
		_ = conn.Close()
		for _, w := range r.ways {
			_ = w.Close()
		}
		r.mu.Unlock()
		r.running.Wait()
	})
	return r
}

// Addr is the address for devices.
func (r *Radio) Addr() string { return r.conn.LocalAddr().String() }

// devices carries what devices send.
func (r *Radio) devices() {
	b := make([]byte, 2000)
	for {
		n, from, err := r.conn.ReadFromUDP(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if way := r.way(from); err == nil && way != nil {
			r.carry(b[:n], func(b []byte) { _, _ = way.Write(b) })
		}
	}
}

// way is a device's socket towards the gateway.
func (r *Radio) way(from *net.UDPAddr) *net.UDPConn {
	r.mu.Lock()
	defer r.mu.Unlock()
	way := r.ways[from.String()]
	if way != nil || r.closed {
		return way
	}
	conn, err := net.Dial("udp", r.to)
	if err != nil {
		return nil
	}
	way = conn.(*net.UDPConn)
	r.ways[from.String()] = way
	r.running.Go(func() {
		b := make([]byte, 2000)
		for {
			n, err := way.Read(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				r.carry(b[:n], func(b []byte) { _, _ = r.conn.WriteToUDP(b, from) })
			}
		}
	})
	return way
}

func (r *Radio) carry(b []byte, write func([]byte)) {
	r.mu.Lock()
	lost, times := r.random.Float64() < r.loss, 1
	if r.random.Float64() < r.double {
		times = 2
	}
	var waits []time.Duration
	for range times {
		wait := time.Duration(0)
		if r.random.Float64() < r.late {
			wait = time.Duration(r.random.IntN(10)) * time.Millisecond
		}
		waits = append(waits, wait)
	}
	r.mu.Unlock()
	if lost {
		return
	}
	for _, wait := range waits {
		if wait == 0 {
			write(b)
			continue
		}
		copied := append([]byte(nil), b...)
		r.running.Go(func() {
			time.Sleep(wait)
			write(copied)
		})
	}
}

// Worsen changes how much of 1 gets lost, comes twice, and comes late, from now on.
func (r *Radio) Worsen(loss, double, late float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loss, r.double, r.late = loss, double, late
}

// Lose changes only how much gets lost.
func (r *Radio) Lose(loss float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loss = loss
}

// Move gives every device another port towards the gateway, as a router does that forgets.
func (r *Radio) Move() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for from, way := range r.ways {
		_ = way.Close()
		delete(r.ways, from)
	}
}
