package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/eventloop"
)

// received is a message of the broker. Its bytes are nobody else's.
type received struct {
	topic      string
	payload    []byte
	retain     bool        // the broker had kept it, or its publisher wants it kept
	hint       bridge.Hint // what the payload is meant to be
	expiry     uint32      // seconds that it may live; 0: for ever
	gateway    string      // that published it, as it says itself
	held       int         // bytes of it in memory
	handler    func(*received)
	generation uint64 // of its connection
}

// client is one client of the broker, which connects again and again.
type client struct {
	login  login
	clock  func() time.Duration // since some time
	log    *logrus.Logger
	outbox *outbox
	crew   *outbound.Crew

	before    func(ctx context.Context, suspect bool) (pause time.Duration, err error) // before each connection; suspect: another client may have the same id
	onConnect func()                                                                   // before anything is heard
	onUp      func(ctx context.Context, present bool) error                            // after the subscriptions; present: the broker kept the session
	onDown    func(error)
	onFault   func(error)                                         // another fault than the last one
	loops     func(net.Conn, eventloop.Handler) *eventloop.Socket // where a connection waits
	quiet     atomic.Bool                                         // what comes is left to the broker, for the next start
	whole     bool                                                // what finds no room here ends the connection: the next one tells all anew

	mu         sync.Mutex
	subs       []*subscription
	conn       *conn // nil: not connected
	nextID     uint16
	asking     sync.WaitGroup
	jobs       []func() // of later
	working    bool
	generation atomic.Uint64          // of the connection
	pending    map[uint16]chan []byte // SUBACKs that are waited for, by packet id
	kept       keptFilters
	lastErr    error
	dropped    func(bridge.Reason)

	writer      atomic.Pointer[outbound.Writer] // nil: not connected
	lastVersion atomic.Uint32
	works       atomic.Uint32 // the version by which it was connected
	isUp        atomic.Bool   // what the broker had kept has come
	pong        atomic.Int64  // when the last PINGRESP came, by the clock
	takeovers   []time.Time   // when another client took the id
	cut         uint64        // a broker of MQTT 3.1.1 ended the last connection without a word, and this was beside's; 0: not so
	wasUp       bool          // the last connection was
	beside      *client       // the gateway's other client of the broker; nil: none
	hurry       chan struct{} // has room for one: the broker is back, as the other client found

	deliveries *deliveries
}

// Pauses between two attempts to connect.
const (
	firstPause = 250 * time.Millisecond
	mostPause  = 15 * time.Second
	fightPause = time.Minute // while another client has the gateway's client id
)

func newClient(l login, clock func() time.Duration, log *logrus.Logger) *client {
	c := &client{login: l, clock: clock, log: log, outbox: newOutbox(clock), crew: outbound.NewCrew(), pending: map[uint16]chan []byte{}, deliveries: newDeliveries(), hurry: make(chan struct{}, 1)}
	c.lastVersion.Store(version5) // until the broker says otherwise
	c.outbox.version = version5
	return c
}

// said is the version of MQTT in which messages wait.
func (c *client) said() byte { return byte(c.lastVersion.Load()) }

// known is the version by which the broker was connected, as CONNECT has it; 0: it never was.
func (c *client) known() byte { return byte(c.works.Load()) }

// version is the version of MQTT that the broker speaks, or 0.
func (c *client) version() byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return 0
	}
	return c.conn.version
}

// present is the number of the present connection, or 0.
func (c *client) present() uint64 {
	if c.version() == 0 {
		return 0
	}
	return c.generation.Load()
}

var errNotYet = errors.New("is not connected yet")

// healthy returns why the broker cannot be used now, or nil.
func (c *client) healthy() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lastErr == nil && !c.isUp.Load() {
		return errNotYet
	}
	return c.lastErr
}

// serve connects again and again until ctx ends, or until that is of no use.
func (c *client) serve(ctx context.Context) error {
	var delivering sync.WaitGroup
	life, end := context.WithCancel(ctx)
	defer end()
	delivering.Go(func() { c.deliveries.serve(life) })
	err := c.connectAgain(ctx)
	end()
	c.crew.Wait()
	c.asking.Wait()
	delivering.Wait()
	return err
}

// connectAgain connects again and again.
func (c *client) connectAgain(ctx context.Context) error {
	pause := firstPause
	for ctx.Err() == nil {
		err := c.once(ctx)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, ErrNoLocal) || errors.Is(err, ErrRival) || errors.Is(err, ErrUntrusted) || errors.Is(err, ErrLacks) {
			return err
		}
		if c.wasUp {
			pause = firstPause
		}
		c.failed(err)
		c.waitToRetry(ctx, pause/2+rand.N(pause/2))
		pause = min(2*pause, mostPause)
		c.outbox.expire()
	}
	return nil
}

// waitToRetry waits, but no longer than until the client beside this one has a connection.
func (c *client) waitToRetry(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-c.hurry:
	}
}

func wait(ctx context.Context, d time.Duration) {
	if d == 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (c *client) failed(err error) {
	c.mu.Lock()
	known := c.lastErr != nil && c.lastErr.Error() == err.Error()
	c.lastErr = err
	c.mu.Unlock()
	if !known {
		c.onFault(err)
	}
}

// finish waits until the broker has all that waits, while it is there, but not for long.
func (c *client) finish(patience time.Duration) {
	for until := time.Now().Add(patience); c.version() != 0 && !c.outbox.idle() && time.Now().Before(until); {
		time.Sleep(5 * time.Millisecond)
	}
}

// once connects, and serves that connection until it ends.
func (c *client) once(ctx context.Context) error {
	c.wasUp = false
	pause, err := c.before(ctx, c.fought())
	if err != nil {
		return err
	}
	if wait(ctx, pause); ctx.Err() != nil {
		return ctx.Err()
	}
	conn, err := dial(ctx, c.login, c.known())
	if c.taken(err == nil); err != nil {
		return err
	}
	most := int(conn.ack.Properties.ReceiveMaximum)
	if conn.version != version5 {
		most = 20 // what a broker of MQTT 3.1.1 takes is not told
	} else if most == 0 {
		most = flyingMost
	}
	life, end := context.WithCancelCause(ctx)
	defer end(nil)
	conn.ended = life.Done()
	mark := newMark(conn.Conn, c.outbox.acksDue)
	w := outbound.NewWriter(&marked{c.outbox, mark}, outbound.Options{Timeout: dialTimeout, Crew: c.crew, Ended: func(err error) {
		if err != nil {
			end(err)
		}
	}})
	c.lastVersion.Store(uint32(conn.version))
	if c.works.Store(version5); conn.version != version5 {
		c.works.Store(version3 | bridgeBit)
	}
	c.outbox.begin(min(most, flyingMost), int(conn.ack.Properties.MaximumPacketSize), conn.version, conn.ack.SessionPresent)
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
	c.writer.Store(w)
	r := &reader{client: c, conn: conn, writer: w, mark: mark, life: life, end: end, ended: make(chan struct{})}
	stop := context.AfterFunc(life, r.leave)
	defer stop()
	c.generation.Add(1)
	c.onConnect()
	if c.beside != nil {
		select {
		case c.beside.hurry <- struct{}{}:
		default:
		}
	}
	w.Start(conn.Conn)
	go r.run() // once waits for it
	var up sync.WaitGroup
	up.Go(func() { // answers are read meanwhile
		c.tidy(conn)
		if err := c.ask(conn, c.active()); err != nil {
			end(err)
			return
		}
		c.outbox.open()
		c.wake(nil)
		if err := c.onUp(life, conn.ack.SessionPresent); err != nil {
			end(err)
			return
		}
		c.mu.Lock()
		c.lastErr = nil
		c.isUp.Store(life.Err() == nil)
		c.mu.Unlock()
		c.ping(life, conn, end)
	})
	up.Wait()
	<-r.ended
	err = context.Cause(life)
	c.wasUp = c.isUp.Swap(false)
	c.writer.Store(nil)
	c.mu.Lock()
	c.conn = nil
	for id, answer := range c.pending {
		close(answer)
		delete(c.pending, id)
	}
	c.mu.Unlock()
	if ctx.Err() == nil {
		c.outbox.end()
		_ = conn.Close()
	}
	w.Close() // at the end of the gateway it has what waits written
	<-w.Done()
	c.outbox.end()
	if ctx.Err() != nil {
		c.sayGoodbye(conn)
	}
	_ = conn.Close()
	if c.cut = 0; conn.version != version5 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)) {
		c.cut = c.beside.present()
	}
	c.onDown(err)
	return err
}

// sayGoodbye ends the connection so that there is no will.
func (c *client) sayGoodbye(conn *conn) {
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	bye := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ProtocolVersion: conn.version}
	_ = write(conn, &bye)
}

// ping asks whether the broker is there, until the connection ends.
func (c *client) ping(ctx context.Context, conn *conn, end context.CancelCauseFunc) {
	alive := keepAlive * time.Second
	if p := &conn.ack.Properties; p.ServerKeepAliveFlag && p.ServerKeepAlive > 0 {
		alive = min(alive, time.Duration(p.ServerKeepAlive)*time.Second)
	}
	t := time.NewTicker(alive / 3)
	defer t.Stop()
	c.pong.Store(int64(c.clock()))
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if c.clock()-time.Duration(c.pong.Load()) > keepAlive*time.Second {
				end(fmt.Errorf("the broker has not answered for %d s", keepAlive))
				return
			}
			if c.outbox.deaf() {
				end(errDeaf)
				return
			}
			if err := c.now([]byte{packets.Pingreq << 4, 0}); err != nil {
				end(err)
				return
			}
		}
	}
}

// errDeaf ends a connection to a broker that takes messages, and acknowledges none.
var errDeaf = fmt.Errorf("the broker has acknowledged none of the gateway's messages for %s", deafFor)
