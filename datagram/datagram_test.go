package datagram_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/datagram"
)

func listen(t testing.TB, address string) *net.UDPConn {
	addr, err := net.ResolveUDPAddr("udp", address)
	require.NoError(t, err)
	c, err := net.ListenUDP("udp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetReadBuffer(4<<20))
	require.NoError(t, c.SetReadDeadline(time.Now().Add(5*time.Second)))
	return c
}

func of(t testing.TB, c *net.UDPConn) *datagram.Socket {
	s, err := datagram.Of(c)
	require.NoError(t, err)
	return s
}

func at(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// on is the address by which a host reaches a socket that listens everywhere.
func on(host string, c *net.UDPConn) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(host), at(c).Port())
}

// flush writes a batch until nothing is left of it.
func flush(t testing.TB, w *datagram.Writer) {
	for w.Waiting() > 0 {
		before := w.Done()
		n, err := w.Write(true)
		require.NoError(t, err)
		require.Equal(t, before+n, w.Done())
	}
	w.Reset()
}

// read reads the expected number of datagrams, and where they came from.
func read(t testing.TB, r *datagram.Reader, expected int) (got [][]byte, from []netip.AddrPort) {
	for len(got) < expected {
		n, err := r.Read()
		require.NoError(t, err, "after %d of %d", len(got), expected)
		for i := range n {
			b, a := r.At(i)
			got, from = append(got, bytes.Clone(b)), append(from, a)
		}
	}
	return got, from
}

// payload is the content of a datagram, which tells its number.
func payload(i, size int) []byte {
	return append(fmt.Appendf(nil, "%06d", i), bytes.Repeat([]byte{byte(i)}, size-6)...)
}

func TestBatchesArriveWholeAndInOrder(t *testing.T) {
	sizes := map[string]func(i int) int{
		"of one size":       func(int) int { return 64 },
		"the largest":       func(int) int { return 1200 },
		"ever shorter":      func(i int) int { return 1200 - i },
		"ever longer":       func(i int) int { return 6 + i },
		"here and there":    func(i int) int { return 64 + i/10%3 },
		"the last shorter":  func(i int) int { return 64 - i%7/6*20 },
		"more than IP's 64": func(int) int { return 1024 },
	}
	for name, size := range sizes {
		for _, merge := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, merged: %v", name, merge), func(t *testing.T) {
				out, in := listen(t, "127.0.0.1:0"), listen(t, "127.0.0.1:0")
				w, r := of(t, out).Writer(merge), of(t, in).Reader(10, 1201)
				const n = 1000
				for i := range n {
					if w.Add(payload(i, size(i)), at(in)) {
						flush(t, w)
					}
					if i%100 == 99 { // the receiver's buffer does not hold all of them
						flush(t, w)
						got, from := read(t, r, 100)
						for k, b := range got {
							require.Equal(t, payload(i-99+k, size(i-99+k)), b)
							require.Equal(t, at(out), from[k])
						}
					}
				}
			})
		}
	}
}

func TestManyDestinationsOfBothFamilies(t *testing.T) {
	out := listen(t, ":0")
	w := of(t, out).Writer(true)
	var ins []*net.UDPConn
	var to []netip.AddrPort
	for i := range 40 {
		in := listen(t, ":0")
		ins = append(ins, in)
		to = append(to, on([]string{"127.0.0.1", "::1", "::ffff:127.0.0.1"}[i%3], in))
	}
	for i := range 3 * len(ins) {
		if w.Add(payload(i, 10), to[i/3]) {
			flush(t, w)
		}
	}
	flush(t, w)
	for i, in := range ins {
		got, from := read(t, of(t, in).Reader(1, 11), 3)
		for k, b := range got {
			assert.Equal(t, payload(3*i+k, 10), b)
			assert.Equal(t, on([]string{"127.0.0.1", "::1", "127.0.0.1"}[i%3], out), from[k], "never mapped")
		}
	}
}

func TestAConnectedSocketNeedsNoAddress(t *testing.T) {
	in := listen(t, "127.0.0.1:0")
	out, err := net.DialUDP("udp", nil, in.LocalAddr().(*net.UDPAddr))
	require.NoError(t, err)
	defer out.Close()
	w := of(t, out).Writer(true)
	for i := range 5 {
		w.Add(payload(i, 10), netip.AddrPort{})
	}
	flush(t, w)
	got, _ := read(t, of(t, in).Reader(2, 11), 5)
	for i, b := range got {
		assert.Equal(t, payload(i, 10), b)
	}
}

func TestWhatIsTooLongIsCut(t *testing.T) {
	in := listen(t, "127.0.0.1:0")
	_, err := listen(t, "127.0.0.1:0").WriteToUDPAddrPort(payload(1, 100), at(in))
	require.NoError(t, err)
	got, _ := read(t, of(t, in).Reader(4, 11), 1)
	assert.Len(t, got[0], 11)
}

// An impossible destination is refused, with all datagrams that go there together.
// Datagrams to other destinations go out.
func TestARefusalConcernsOneDestination(t *testing.T) {
	for _, merge := range []bool{true, false} {
		t.Run(fmt.Sprint(merge), func(t *testing.T) {
			in := listen(t, "127.0.0.1:0")
			nowhere := netip.AddrPortFrom(at(in).Addr(), 0)
			w := of(t, listen(t, "127.0.0.1:0")).Writer(merge)
			for i := range 30 {
				w.Add(payload(i, 10), map[bool]netip.AddrPort{true: nowhere, false: at(in)}[i/5%2 == 0])
			}
			var refused []int
			for w.Waiting() > 0 {
				if n, err := w.Write(false); err != nil {
					assert.Zero(t, n)
					first := w.Done()
					for i := range w.Skip() {
						refused = append(refused, first+i)
					}
				}
			}
			assert.Equal(t, []int{0, 1, 2, 3, 4, 10, 11, 12, 13, 14, 20, 21, 22, 23, 24}, refused)
			got, _ := read(t, of(t, in).Reader(10, 11), 15)
			for k, b := range got {
				assert.Equal(t, payload(5+k/5*10+k%5, 10), b)
			}
		})
	}
}

func TestAClosedSocketSaysSo(t *testing.T) {
	c := listen(t, "127.0.0.1:0")
	w, r := of(t, c).Writer(true), of(t, c).Reader(1, 10)
	w.Add([]byte("x"), at(c))
	require.NoError(t, c.Close())
	_, err := w.Write(true)
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = r.Read()
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = datagram.Of(c)
	require.Error(t, err)
}

func TestBatchesMakeNoGarbage(t *testing.T) {
	out, in := listen(t, ":0"), listen(t, ":0")
	w, r := of(t, out).Writer(true), of(t, in).Reader(64, 100)
	b, to := payload(1, 64), on("127.0.0.1", in)
	assert.Zero(t, testing.AllocsPerRun(100, func() {
		for range 60 {
			w.Add(b, to)
		}
		flush(t, w)
		for got := 0; got < 60; {
			n, err := r.Read()
			require.NoError(t, err)
			for i := range n {
				_, from := r.At(i)
				require.True(t, from.IsValid())
			}
			got += n
		}
	}))
}
