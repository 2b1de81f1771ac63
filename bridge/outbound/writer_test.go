package outbound

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// ends returns the two ends of a TCP connection.
func ends(t *testing.T) (near, far net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	far, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	near, err = l.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

// Every goroutine that puts something has it written by its own round, or by the crew.
func TestWriterWritesEverythingInItsOrder(t *testing.T) {
	const each, frame = 4000, 40
	pipeNear, pipeFar := net.Pipe() // cannot be written to without waiting
	near, far := ends(t)
	for name, c := range map[string][2]net.Conn{"socket": {near, far}, "pipe": {pipeNear, pipeFar}} {
		t.Run(name, func(t *testing.T) {
			crew, q, ended := NewCrew(), NewQueue(1<<20, 1<<30), make(chan error, 1)
			w := NewWriter(q, Options{Timeout: time.Minute, Crew: crew, Ended: func(err error) { ended <- err; c[0].Close() }})
			w.Start(c[0])
			var all sync.WaitGroup
			for who := range 4 {
				all.Go(func() {
					var r Round
					defer r.Rest()
					for n := range each {
						b := make([]byte, frame)
						binary.BigEndian.PutUint32(b, uint32(who))
						binary.BigEndian.PutUint32(b[4:], uint32(n))
						q.Put(b)
						switch {
						case who%2 == 0:
							w.Wake()
						case n%10 == 9:
							r.Note(w)
							r.Share(n % 20 / 10) // itself, or the crew
						default:
							r.Note(w)
						}
					}
					r.Flush()
				})
			}
			go func() { all.Wait(); w.Close() }()
			var seen [4]uint32
			b := make([]byte, frame)
			for range 4 * each {
				_, err := io.ReadFull(c[1], b)
				require.NoError(t, err)
				who := binary.BigEndian.Uint32(b)
				require.Equal(t, seen[who], binary.BigEndian.Uint32(b[4:]))
				seen[who]++
			}
			_, err := c[1].Read(b)
			assert.ErrorIs(t, err, io.EOF)
			<-w.Done()
			assert.NoError(t, <-ended)
			crew.Wait()
		})
	}
}

// Nobody wakes it again for what waits behind a batch.
func TestAWriterIsWokenOnceForLargeFrames(t *testing.T) {
	near, far := ends(t)
	crew, q := NewCrew(), NewQueue(1<<20, 1<<30)
	w := NewWriter(q, Options{Timeout: time.Minute, Crew: crew, Ended: func(error) { near.Close() }})
	w.Start(near)
	for _, size := range []int{40_000, 50_000, 64 << 10, 1, 90_000, 30_000, 30_000, 30_000} {
		q.Put(make([]byte, size))
	}
	w.Wake()
	n, err := io.CopyN(io.Discard, far, 40_000+50_000+(64<<10)+1+90_000+3*30_000)
	require.NoError(t, err)
	assert.Positive(t, n)
	w.Close()
	<-w.Done()
	crew.Wait()
}

func TestWriterEndsAReceiverThatDoesNotRead(t *testing.T) {
	near, far := ends(t)
	crew, q, ended := NewCrew(), NewQueue(1<<20, 1<<30), make(chan error, 2)
	w := NewWriter(q, Options{Timeout: 100 * time.Millisecond, Crew: crew, Ended: func(err error) { ended <- err; near.Close() }})
	w.Start(near)
	for range 300 {
		q.Put(make([]byte, 64<<10)) // more than the socket takes
	}
	w.Wake()
	err := <-ended
	var op *net.OpError
	require.ErrorAs(t, err, &op)
	assert.True(t, op.Timeout())
	w.Wake()
	w.Close()
	<-w.Done()
	crew.Wait()
	assert.Empty(t, ended, "it ended once")
	n, _ := io.Copy(io.Discard, far)
	assert.Less(t, n, int64(300*64<<10))
}

func TestWriterWritesTheRestWhenThereIsRoomAgain(t *testing.T) {
	near, far := ends(t)
	crew, q := NewCrew(), NewQueue(1<<20, 1<<30)
	w := NewWriter(q, Options{Timeout: time.Minute, Crew: crew, Ended: func(error) { near.Close() }})
	w.Start(near)
	var want bytes.Buffer
	for i := range 400 {
		b := bytes.Repeat([]byte{byte(i)}, 50_000+i)
		want.Write(b)
		q.Put(b)
		w.Wake()
	}
	w.Close()
	got, err := io.ReadAll(far)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(want.Bytes(), got))
	<-w.Done()
	crew.Wait()
}

// A crew that has ended starts nothing more, though somebody still has something to write.
func TestACrewThatHasEndedStaysSo(t *testing.T) {
	for range 100 {
		crew := NewCrew()
		var wakes sync.WaitGroup
		for range 4 {
			w := NewWriter(NewQueue(1, 1), Options{Timeout: time.Second, Crew: crew})
			wakes.Go(w.Wake)
		}
		crew.Wait()
		wakes.Wait()
		for i := range crew.shards {
			assert.False(t, crew.shards[i].running)
		}
	}
}

// Put waits for the batch that is being written, and what it writes is in one piece.
func TestPutWritesBetweenBatches(t *testing.T) {
	conn, peer := ends(t)
	const batch = 16 << 20 // more than the system holds
	crew := NewCrew()
	q := NewQueue(10, 3*batch)
	w := NewWriter(q, Options{Timeout: time.Minute, Crew: crew})
	w.Start(conn)
	require.True(t, q.Put(bytes.Repeat([]byte("a"), batch)))
	var r Round
	r.Note(w)
	r.Flush() // the socket is full now
	var putting sync.WaitGroup
	putting.Go(func() { assert.NoError(t, w.Put([]byte("between"))) })
	require.True(t, q.Put([]byte("b")))
	w.Wake()
	got := make([]byte, batch+len("between")+1)
	_, err := io.ReadFull(peer, got)
	require.NoError(t, err)
	putting.Wait()
	assert.Equal(t, batch, bytes.Count(got, []byte("a")))
	assert.Contains(t, []string{"betweenb", "bbetween"}, string(got[batch:]))
	conn.Close()
	assert.Error(t, w.Put([]byte("more")))
	assert.Error(t, w.Put([]byte("more")), "it has ended")
	crew.Wait()
}
