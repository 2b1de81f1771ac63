package datagram

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestZonesAreKept(t *testing.T) {
	lo, err := net.InterfaceByIndex(1)
	require.NoError(t, err)
	for _, zone := range []string{lo.Name, "1"} {
		var n name
		s := &Socket{six: true}
		s.set(&n, netip.AddrPortFrom(netip.MustParseAddr("fe80::1%"+zone), 3033))
		assert.Equal(t, netip.MustParseAddrPort("[fe80::1%1]:3033"), get(&n))
	}
	assert.Zero(t, scope("no such interface"))
	assert.Equal(t, netip.AddrPort{}, get(&name{}), "the system gave no address")
}

func TestWhatGoesTogether(t *testing.T) {
	out, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	defer out.Close()
	s, err := Of(out)
	require.NoError(t, err)
	a, b := netip.MustParseAddrPort("127.0.0.1:9"), netip.MustParseAddrPort("127.0.0.1:10")
	type d struct {
		to   netip.AddrPort
		size int
	}
	for name, c := range map[string]struct {
		datagrams []d
		messages  int
	}{
		"one size":         {[]d{{a, 5}, {a, 5}, {a, 5}}, 1},
		"the last shorter": {[]d{{a, 5}, {a, 5}, {a, 4}}, 1},
		"a shorter one":    {[]d{{a, 5}, {a, 4}, {a, 4}, {a, 4}}, 2},
		"a longer one":     {[]d{{a, 5}, {a, 6}, {a, 6}}, 2},
		"two receivers":    {[]d{{a, 5}, {a, 5}, {b, 5}, {b, 5}, {a, 5}}, 3},
	} {
		w := s.Writer(true)
		for _, d := range c.datagrams {
			w.Add(make([]byte, d.size), d.to)
		}
		assert.Equal(t, c.messages, w.n, name)
	}
	w := s.Writer(true)
	for range maxRun + 1 {
		w.Add(make([]byte, 5), a)
	}
	assert.Equal(t, 2, w.n, "no more than the oldest systems take")
	w = s.Writer(false)
	w.Add(make([]byte, 5), a)
	w.Add(make([]byte, 5), a)
	assert.Equal(t, 2, w.n, "not merged if it is not to be")
}

// The system cannot split messages for a socket that makes no checksums: it refuses them
// with EINVAL, as it does for some network devices. Then datagrams go one by one, and are
// not merged again.
func TestWhatIsRefusedTogetherGoesAlone(t *testing.T) {
	loopback := &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}
	in, err := net.ListenUDP("udp", loopback)
	require.NoError(t, err)
	defer in.Close()
	out, err := net.ListenUDP("udp", loopback)
	require.NoError(t, err)
	defer out.Close()
	raw, err := out.SyscallConn()
	require.NoError(t, err)
	var failed error
	require.NoError(t, raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_NO_CHECK, 1)
	}))
	require.NoError(t, failed)
	s, err := Of(out)
	require.NoError(t, err)
	require.True(t, s.merges, "Linux 4.18 and newer can")

	w := s.Writer(true)
	to := in.LocalAddr().(*net.UDPAddr).AddrPort()
	for round := range 3 {
		nowhere := netip.AddrPortFrom(to.Addr(), 0)
		for i := range 3 {
			w.Add([]byte{byte(round), byte(i)}, to)
		}
		w.Add([]byte("a"), nowhere)
		w.Add([]byte("b"), nowhere)
		for i := range 3 {
			w.Add([]byte{byte(round), byte(3 + i)}, to)
		}
		assert.Equal(t, round == 0, w.merges)
		refused := 0
		for w.Waiting() > 0 {
			if _, err := w.Write(true); err != nil {
				require.ErrorIs(t, err, unix.EINVAL)
				refused += w.Skip()
			}
		}
		assert.Equal(t, 2, refused)
		w.Reset()
	}
	require.NoError(t, in.SetReadDeadline(time.Now().Add(5*time.Second)))
	for i := range 18 {
		var b [10]byte
		n, err := in.Read(b[:])
		require.NoError(t, err)
		assert.Equal(t, []byte{byte(i / 6), byte(i % 6)}, b[:n])
	}
	require.NoError(t, in.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, err = in.Read(make([]byte, 10))
	require.Error(t, err, "nothing comes twice")
}
