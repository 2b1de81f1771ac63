package remote

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/eventloop"
)

// reading is a reader of a real socket, the broker's end of it, and what came of it.
type reading struct {
	*reader
	broker net.Conn
	why    chan error
	heard  chan string
}

// newReading returns a reader that waits for the broker: in an event loop, if there is one.
func newReading(t *testing.T, inLoop bool) *reading {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	own, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	r := &reading{why: make(chan error, 1), heard: make(chan string, 1000)}
	r.broker, err = l.Accept()
	require.NoError(t, err)
	require.NoError(t, r.broker.SetReadDeadline(time.Now().Add(time.Minute))) // or it waits for ever
	begun := time.Now()
	c := newClient(login{}, func() time.Duration { return time.Since(begun) }, logrus.New())
	c.loops = func(net.Conn, eventloop.Handler) *eventloop.Socket { return nil }
	if inLoop {
		loops, err := eventloop.Start()
		require.NoError(t, err)
		t.Cleanup(loops.Close)
		c.loops = loops.Socket
	}
	c.subscribe(&subscription{filter: "said", atOnce: true, handler: func(m *received) { r.heard <- string(m.payload) }})
	c.outbox.begin(20, 0, version5, false)
	c.outbox.open()
	life, end := context.WithCancel(context.Background())
	in := &conn{Conn: own, r: bufio.NewReader(own), version: version5, limit: 1 << 16}
	mark := newMark(own, c.outbox.acksDue)
	w := outbound.NewWriter(&marked{c.outbox, mark}, outbound.Options{Timeout: time.Second, Crew: c.crew})
	r.reader = &reader{client: c, conn: in, writer: w, mark: mark, life: life, end: func(err error) { r.why <- err }, ended: make(chan struct{})}
	context.AfterFunc(life, r.leave)
	c.writer.Store(w)
	w.Start(own)
	go r.run()
	t.Cleanup(func() {
		end()
		<-r.ended
		_ = own.Close()
		w.Close()
		<-w.Done()
		c.crew.Wait()
		_ = r.broker.Close()
	})
	return r
}

// says has the broker say something, in pieces of so many bytes.
func (r *reading) says(t *testing.T, b []byte, pieces int) {
	for len(b) > 0 {
		n := min(pieces, len(b))
		_, err := r.broker.Write(b[:n])
		require.NoError(t, err)
		b = b[n:]
	}
}

// What the broker says is read in its order, whoever reads it and in whatever pieces it comes.
func TestABrokerIsHeard(t *testing.T) {
	for _, inLoop := range []bool{true, false} {
		for _, pieces := range []int{1, 7, 1 << 16} {
			t.Run(fmt.Sprintf("loop %v, pieces of %d", inLoop, pieces), func(t *testing.T) {
				r := newReading(t, inLoop)
				var all []byte
				for i := range 20 {
					b, _ := (&publish{topic: []byte("said"), payload: fmt.Appendf(nil, "%d", i)}).encode(nil, version5)
					all = append(append(all, b...), packets.Pingresp<<4, 0)
				}
				r.says(t, all, pieces)
				for i := range 20 {
					assert.Equal(t, fmt.Sprint(i), <-r.heard)
				}
				r.says(t, []byte{packets.Disconnect << 4, 2, 0x8b, 0}, pieces)
				assert.ErrorContains(t, <-r.why, "it shuts down")
			})
		}
	}
}

// Messages at QoS 1 follow the acknowledgements of those before them.
func TestAcknowledgementsMakeRoom(t *testing.T) {
	for _, inLoop := range []bool{true, false} {
		r := newReading(t, inLoop)
		for range 1000 {
			it := &item{drop: func(bridge.Reason) {}}
			it.b, it.idAt = (&publish{topic: []byte("t"), payload: []byte("x"), qos: 1}).encode(nil, version5)
			r.client.send(it, nil)
		}
		in := bufio.NewReader(r.broker)
		for i := range 1000 {
			pk, err := read(in, version5, 1<<16)
			require.NoError(t, err)
			require.Equal(t, packets.Publish, pk.FixedHeader.Type)
			ack := []byte{packets.Puback << 4, 2, byte(pk.PacketID >> 8), byte(pk.PacketID)}
			if i%3 == 0 { // nobody has subscribed
				ack = append(ack, 0x10)
				ack[1]++
			}
			_, err = r.broker.Write(ack)
			require.NoError(t, err)
		}
		require.Eventually(t, r.client.outbox.idle, 10*time.Second, time.Millisecond)
	}
}

func TestABrokersBadPacketEndsTheReading(t *testing.T) {
	for _, inLoop := range []bool{true, false} {
		r := newReading(t, inLoop)
		r.says(t, []byte{0xf0, 0, packets.Pingresp << 4, 0}, 4)
		assert.ErrorIs(t, <-r.why, errPacket)
		r = newReading(t, inLoop)
		r.says(t, []byte{packets.Publish << 4, 0xff, 0xff, 0x7f}, 4)
		assert.ErrorContains(t, <-r.why, "mqtt.max_packet_bytes")
		r = newReading(t, inLoop)
		require.NoError(t, r.broker.Close())
		assert.ErrorIs(t, <-r.why, io.EOF)
	}
}
