package device

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"watchtower/wire"
	"watchtower/wire/frame"
)

// Client is a device. Its methods may be called from any goroutine.
type Client struct {
	opts             Options
	network, address string

	messages     chan Message
	dropped      atomic.Uint64
	registration chan []byte   // frames for the goroutine that registers
	wanted       chan struct{} // a registration is wanted
	closed       chan struct{}
	closing      sync.Once
	running      sync.WaitGroup

	mu         sync.Mutex
	conn       *conn
	live       *live
	changed    chan struct{} // closed at the next session that is ready
	freed      chan struct{} // closed when the next request is over
	channels   map[uint32]struct{}
	asleep     bool
	heard      time.Time // when the last authentic frame came
	shown      time.Time // when the newest request that was answered was first sent
	keeping    bool      // a ping that keeps the session alive waits for its answer
	registered time.Time // when a session was last asked for
	began      time.Time // when the last session began
	nonce      *[8]byte  // of a registration that has no cookie yet; nil: there is none
}

// Dial registers a device with the gateway at an address, over "udp" or "tcp".
// Ctx bounds the registration only. Close ends the client.
func Dial(ctx context.Context, network, address string, opts Options) (*Client, error) {
	c := &Client{
		opts: opts.withDefaults(), network: network, address: address,
		registration: make(chan []byte, 8), freed: make(chan struct{}),
		wanted: make(chan struct{}, 1), closed: make(chan struct{}),
		changed: make(chan struct{}), channels: map[uint32]struct{}{},
	}
	c.messages = make(chan Message, c.opts.Queue)
	if err := c.connect(ctx); err != nil {
		return nil, err
	}
	s, err := c.register(ctx)
	if err != nil {
		c.stop()
		return nil, err
	}
	c.begin(s)
	c.announce(s)
	c.running.Go(c.keep)
	return c, nil
}

// ID is the client's sender id, as the last registration gave it.
func (c *Client) ID() uint32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.live.id
}

// Messages returns the channel of what the client hears; it is never closed. Messages
// that the gateway repeats until they are acknowledged come in the order in which it took
// them: with a Window, early ones wait for a missing one. Without Acknowledge a message
// that the network delays comes late.
func (c *Client) Messages() <-chan Message { return c.messages }

// Dropped is how often a message came while Messages was full. A message that the gateway
// repeats may be counted more than once, and arrive later.
func (c *Client) Dropped() uint64 { return c.dropped.Load() }

// Close ends the session, if ctx leaves time for that, and then the client.
func (c *Client) Close(ctx context.Context) error {
	_, err := c.request(ctx, frame.Bye, 0, endsSession)
	c.stop()
	return err
}

// stop ends the client and leaves the session as it is.
func (c *Client) stop() {
	c.closing.Do(func() { close(c.closed) })
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	_ = conn.Close()
	c.running.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.live != nil {
		c.releaseLocked(c.live)
	}
}

// Join joins channels, in later sessions too.
func (c *Client) Join(ctx context.Context, channels ...uint32) error {
	_, err := c.request(ctx, frame.Join, 0, wire.AppendIDs(nil, channels...))
	if err == nil {
		c.mu.Lock()
		for _, ch := range channels {
			c.channels[ch] = struct{}{}
		}
		c.mu.Unlock()
	}
	return err
}

// Leave leaves channels.
func (c *Client) Leave(ctx context.Context, channels ...uint32) error {
	c.mu.Lock()
	for _, ch := range channels {
		delete(c.channels, ch)
	}
	c.mu.Unlock()
	_, err := c.request(ctx, frame.Leave, 0, wire.AppendIDs(nil, channels...))
	return err
}

// Channels lists all channels of the gateway.
func (c *Client) Channels(ctx context.Context) ([]uint32, error) {
	return c.list(ctx, frame.Channels)
}

// Members lists the members of a channel that the client is on.
func (c *Client) Members(ctx context.Context, channel uint32) ([]uint32, error) {
	return c.list(ctx, frame.Members, channel)
}

func (c *Client) list(ctx context.Context, op frame.Op, of ...uint32) (all []uint32, err error) {
	for start := uint32(0); ; {
		result, err := c.request(ctx, op, 0, wire.AppendIDs(wire.AppendIDs(nil, of...), start))
		if err != nil {
			return nil, err
		}
		more, ids, err := frame.ParseList(result)
		if err != nil {
			return nil, err
		}
		for i := range ids.Len() {
			all = append(all, ids.At(i))
		}
		if !more || ids.Len() == 0 || all[len(all)-1] == 1<<32-1 {
			return all, nil
		}
		start = all[len(all)-1] + 1
	}
}

// Broadcast sends data to all members of channels, and waits until the gateway has it.
func (c *Client) Broadcast(ctx context.Context, hint Hint, data []byte, channels ...uint32) error {
	_, err := c.request(ctx, frame.Broadcast, frame.AckWanted|frame.HintFlags(byte(hint)), broadcastBody(data, channels))
	return err
}

// Confirm is Broadcast on a channel that wants more than one to say the same. It returns how
// many have said it so far, of how many; 0 of 0 if the message is delivered.
func (c *Client) Confirm(ctx context.Context, hint Hint, data []byte, channel uint32) (confirmed, of int, err error) {
	result, err := c.request(ctx, frame.Broadcast, frame.AckWanted|frame.HintFlags(byte(hint)), broadcastBody(data, []uint32{channel}))
	if err != nil || len(result) < 2 {
		return 0, 0, err
	}
	return int(result[0]), int(result[1]), nil
}

// Tell is Broadcast without waiting: whether the gateway gets it is not known.
func (c *Client) Tell(ctx context.Context, hint Hint, data []byte, channels ...uint32) error {
	body := broadcastBody(data, channels)
	if len(body)+frame.Overhead > c.room() {
		return Refused{Op: frame.Broadcast, Code: frame.BadRequest}
	}
	s, err := c.session(ctx)
	if err != nil {
		return err
	}
	if err := c.turnLocked(ctx, s, numbersKnown); err != nil {
		return err
	}
	raw := s.next(frame.Broadcast, frame.HintFlags(byte(hint)), body)
	c.asleep = false
	c.mu.Unlock()
	c.write(raw)
	return nil
}

func broadcastBody(data []byte, channels []uint32) []byte {
	return append(wire.AppendIDs([]byte{byte(len(channels))}, channels...), data...)
}

// Send sends data to some members of channels, and waits until the gateway has it.
func (c *Client) Send(ctx context.Context, hint Hint, data []byte, receivers []uint32, channels ...uint32) error {
	body := wire.AppendIDs([]byte{byte(len(channels))}, channels...)
	body = wire.AppendIDs(append(body, byte(len(receivers))), receivers...)
	_, err := c.request(ctx, frame.Send, frame.AckWanted|frame.HintFlags(byte(hint)), append(body, data...))
	return err
}

// Ping returns when the gateway has answered, which it does after all messages for the
// client. It wakes a client that sleeps.
func (c *Client) Ping(ctx context.Context) error {
	_, err := c.request(ctx, frame.Ping, 0, nil)
	return err
}

// Sleep lets messages wait at the gateway until the next request, for a time in
// whole seconds, 1 s to 18 h.
func (c *Client) Sleep(ctx context.Context, d time.Duration) error {
	n := uint16(min(max(d/time.Second, 1), 1<<16-1))
	_, err := c.request(ctx, frame.Bye, 0, []byte{byte(n), byte(n >> 8)})
	return err
}
