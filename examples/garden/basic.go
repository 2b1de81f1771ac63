package main

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"time"
)

var le = binary.LittleEndian

// basicPing is how often a valve says that it is there, and how soon it asks again for what was
// not answered.
const (
	basicPing  = 5 * time.Second
	basicRetry = 500 * time.Millisecond
)

// basic is a line over basic frames, as the smallest of boards speak them. Each is one datagram,
// sent once, and the key travels readably.
//
//	K len1 key → A id4          register         J id4 channel4 → A channel4   join
//	M id4 channel4 len4 data    broadcast        M sender4 channel4 type2 len4 data   is heard
//	P id4                       I am there       Q id4 channel4            leave
//	                            E   the id is not known: register again
type basic struct {
	conn    net.Conn
	o       lineOptions
	texts   chan string
	joined  chan struct{}
	first   chan error // nil when it has joined for the first time, or why it cannot
	ended   chan struct{}
	reading sync.WaitGroup

	mu sync.Mutex
	id uint32 // 0: not registered
}

func newBasic(ctx context.Context, o lineOptions) (line, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "udp", o.at)
	if err != nil {
		return nil, err
	}
	b := &basic{conn: conn, o: o, texts: make(chan string, 64), joined: make(chan struct{}, 1), first: make(chan error, 1), ended: make(chan struct{})}
	b.reading.Go(b.read)
	select {
	case err = <-b.first:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// read registers, joins, and hears, until the line is closed. A refused datagram is a lost one.
func (b *basic) read() {
	buf := make([]byte, 1200)
	register := append([]byte{'K', byte(len(b.o.key))}, b.o.key...)
	var id uint32
	member := false
	for next := time.Now(); ; {
		if now := time.Now(); !now.Before(next) {
			switch {
			case id == 0:
				_, _ = b.conn.Write(register)
				next = now.Add(basicRetry)
			case !member:
				_, _ = b.conn.Write(le.AppendUint32(le.AppendUint32([]byte{'J'}, id), b.o.channel))
				next = now.Add(basicRetry)
			default:
				_, _ = b.conn.Write(le.AppendUint32([]byte{'P'}, id))
				next = now.Add(basicPing)
			}
		}
		_ = b.conn.SetReadDeadline(next)
		n, err := b.conn.Read(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // nothing came, or nobody listens there just now
			if next = b.pause(next, err); next.IsZero() {
				return
			}
		case n == 5 && buf[0] == 'A' && id == 0:
			id, next = le.Uint32(buf[1:]), time.Now()
		case n == 5 && buf[0] == 'A' && !member && le.Uint32(buf[1:]) == b.o.channel:
			member = true
			b.is(id)
		case n == 1 && buf[0] == 'E':
			if id == 0 {
				b.begun(errors.New("refused: is the key right?"))
				continue
			}
			id, member, next = 0, false, time.Now()
			b.is(0)
		case n >= 15 && buf[0] == 'M':
			select {
			case b.texts <- string(buf[15:n]):
			default: // as lost on the way
			}
		}
	}
}

// pause waits a little after an error other than that the time is over. It returns the time of
// the next try, 0 once the line is closed.
func (b *basic) pause(next time.Time, err error) time.Time {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return next
	}
	timer := time.NewTimer(basicRetry)
	defer timer.Stop()
	select {
	case <-timer.C:
		return time.Now()
	case <-b.ended:
		return time.Time{}
	}
}

// is notes who the valve is; 0: nobody.
func (b *basic) is(id uint32) {
	b.mu.Lock()
	b.id = id
	b.mu.Unlock()
	if id == 0 {
		return
	}
	b.begun(nil)
	select {
	case b.joined <- struct{}{}:
	default:
	}
}

// begun is heard the first time only.
func (b *basic) begun(err error) {
	select {
	case b.first <- err:
	default:
	}
}

func (b *basic) heard() <-chan string   { return b.texts }
func (b *basic) joins() <-chan struct{} { return b.joined }

func (b *basic) say(_ context.Context, text string) error {
	b.mu.Lock()
	id := b.id
	b.mu.Unlock()
	if id == 0 {
		return errors.New("not registered")
	}
	m := le.AppendUint32(le.AppendUint32([]byte{'M'}, id), b.o.channel)
	_, err := b.conn.Write(append(le.AppendUint32(m, uint32(len(text))), text...))
	return err
}

func (b *basic) close() {
	b.mu.Lock()
	if b.id != 0 {
		_, _ = b.conn.Write(le.AppendUint32(le.AppendUint32([]byte{'Q'}, b.id), b.o.channel)) // nobody waits for it
	}
	b.mu.Unlock()
	close(b.ended)
	_ = b.conn.Close()
	b.reading.Wait()
}
