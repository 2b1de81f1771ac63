package mqtt

import (
	"cmp"
	"context"
	"crypto/tls"
	"hash/maphash"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/sirupsen/logrus"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/config"
	"watchtower/intake"
)

// Options of a Broker: the settings that it takes, and what is none.
type Options struct {
	config.MQTT
	config.Limits

	TLS           *tls.Config     // for TLSListen
	Reserved      []string        // client ids that are refused, besides "inline"
	OwnTopics     []string        // beginnings of topics to which no client may publish
	Users         map[string]User // by user name; names have no dot
	PacketTimeout time.Duration   // for a packet that has begun, longer for a large one; 0: 30 s

	Intake    *intake.Intake   // bounds strangers and unfinished packets; nil: nothing does
	Gate      *auth.Gate       // where wrong keys and passwords are counted; nil: nowhere
	Passwords *auth.Passwords  // nil: a queue of its own
	Store     Store            // nil: nothing outlives the process
	Now       func() time.Time // nil: time.Now
}

const (
	packetTimeout = 30 * time.Second
	inlineClient  = "inline" // as mochi calls its own
)

// Protocol is how the hub knows what comes and goes by MQTT.
var Protocol = bridge.NewProtocol("mqtt")

// Broker is the embedded MQTT broker, and so the bus.
type Broker struct {
	hub       *bridge.Hub
	tree      *bridge.Tree
	opts      Options
	log       *logrus.Logger
	now       func() time.Time
	router    *router
	sessions  *sessions
	users     atomic.Pointer[map[string]User]
	retained  *retained
	budget    *budget
	gate      *auth.Gate
	passwords *auth.Passwords
	keeper    *keeper // nil: nothing outlives the process
	noisy     *throttle
	once      *throttle
	wills     *wills
	door      *intake.Door

	plain, secure net.Listener
	quiet         atomic.Bool     // takes no more requests
	life          context.Context // ends then
	endLife       context.CancelFunc
	ending        chan struct{}  // closed when connections are to end
	serving       sync.WaitGroup // connections

	mu    sync.Mutex
	conns map[*conn]struct{}
	reads sync.WaitGroup // connections that still take requests
}

// New returns a broker that listens to nobody yet, with the sessions and
// retained messages of its store. It works as the hub's bus from the start.
func New(hub *bridge.Hub, opts Options, log *logrus.Logger) (*Broker, error) {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	opts.PacketTimeout = cmp.Or(opts.PacketTimeout, packetTimeout)
	all := &budget{limit: int64(opts.MQTTQueueBytes)}
	w := &wills{limit: int64(opts.MQTTQueueBytes) / 4}
	b := &Broker{
		hub: hub, tree: hub.Tree(), opts: opts, log: log, now: opts.Now,
		router: newRouter(hub.Tree()), sessions: newSessions(), noisy: newThrottle(time.Minute), once: newThrottle(24 * time.Hour), wills: w,
		budget: all, retained: &retained{most: opts.MQTTRetained, mostBytes: opts.MQTTRetainedBytes, budget: all, seed: maphash.MakeSeed()},
		gate:      opts.Gate,
		passwords: opts.Passwords,
		ending:    make(chan struct{}), conns: map[*conn]struct{}{},
	}
	b.life, b.endLife = context.WithCancel(context.Background())
	if b.passwords == nil {
		b.passwords = auth.NewPasswords(opts.Gate)
	}
	if opts.Intake == nil {
		b.opts.Intake = intake.New(intake.Options{Counters: hub.Counters(), Log: log})
	}
	b.door = b.opts.Intake.Door(Protocol, "limits.mqtt_connections", opts.MQTTConnections)
	b.users.Store(&opts.Users)
	if opts.Store == nil {
		return b, nil
	}
	b.keeper = newKeeper(b, opts.Store, opts.SaveInterval, log)
	if err := b.keeper.restore(); err != nil {
		return nil, err
	}
	b.retained.keep = true
	return b, nil
}

// Listen binds the TCP listener, if there is to be one.
func (b *Broker) Listen() error {
	if b.opts.Listen == "" {
		return nil
	}
	var err error
	b.plain, err = net.Listen("tcp", b.opts.Listen)
	return err
}

// ListenTLS binds the TLS listener, if there is to be one.
func (b *Broker) ListenTLS() error {
	if b.opts.TLSListen == "" {
		return nil
	}
	l, err := net.Listen("tcp", b.opts.TLSListen)
	if err == nil {
		b.secure = tls.NewListener(l, b.opts.TLS)
	}
	return err
}

// Addr is what the TCP listener is bound to, or nil.
func (b *Broker) Addr() net.Addr { return address(b.plain) }

// TLSAddr is what the TLS listener is bound to, or nil.
func (b *Broker) TLSAddr() net.Addr { return address(b.secure) }

func address(l net.Listener) net.Addr {
	if l == nil {
		return nil
	}
	return l.Addr()
}

// listeners are those that are bound.
func (b *Broker) listeners() (bound []net.Listener) {
	for _, l := range []net.Listener{b.plain, b.secure} {
		if l != nil {
			bound = append(bound, l)
		}
	}
	return bound
}

// Serve takes connections until ctx ends, then tells every client goodbye and
// returns when all of them have gone.
func (b *Broker) Serve(ctx context.Context) error {
	var own sync.WaitGroup
	own.Go(func() { b.sweep(ctx) })
	if b.keeper != nil {
		own.Go(func() { b.keeper.run(ctx) })
	}
	for _, l := range b.listeners() {
		own.Go(func() { b.accept(l) })
	}
	<-ctx.Done()
	b.stopReading()
	close(b.ending)
	own.Wait()
	last := time.AfterFunc(flushTimeout, b.closeAll) // those that do not take their goodbye
	defer last.Stop()
	b.serving.Wait()
	if b.keeper != nil {
		b.keeper.save(true)
	}
	return nil
}

func (b *Broker) closeAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		_ = c.nc.Close()
	}
}

// Quiesce takes no more connections or requests, and returns when those in
// progress are done, or ctx ends. Messages still go out.
func (b *Broker) Quiesce(ctx context.Context) {
	b.stopReading()
	done := make(chan struct{})
	go func() { // ends when the reads do, which Serve waits for
		defer close(done)
		b.reads.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
}

func (b *Broker) stopReading() {
	b.quiet.Store(true)
	b.endLife()
	for _, l := range b.listeners() {
		_ = l.Close()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.conns {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

func (b *Broker) accept(l net.Listener) {
	for {
		nc, err := l.Accept()
		if err != nil {
			if b.quiet.Load() {
				return
			}
			b.log.WithError(err).Warn("MQTT connection not accepted")
			time.Sleep(50 * time.Millisecond) // out of descriptors, most likely: let some go
			continue
		}
		go b.ServeConn(nc) // Serve waits for it
	}
}

// Protocol is that of the broker's clients.
func (b *Broker) Protocol() bridge.Protocol { return Protocol }

// Publish puts a message of another protocol on the bus.
func (b *Broker) Publish(m *bridge.Message) error {
	var room [128]byte
	topic := b.tree.AppendTopic(room[:0], m)
	return b.hand(b.router.route(topic), &message{payload: m.Data, qos: anyQoS, channel: m, expires: expires(m)}, nil)
}

// expires is when a message expires in Unix milliseconds; 0: never.
func expires(m *bridge.Message) int64 {
	if m.Expires.IsZero() {
		return 0
	}
	return m.Expires.UnixMilli()
}

// PublishRetained publishes a retained message of the gateway's own.
func (b *Broker) PublishRetained(topic string, payload []byte) error {
	return b.deliverRetained(&message{topic: topic, payload: payload, qos: anyQoS, retain: true}, own, nil)
}

// PublishKept is PublishRetained for what is to outlive the process.
func (b *Broker) PublishKept(topic string, payload []byte) error {
	return b.deliverRetained(&message{topic: topic, payload: payload, qos: anyQoS, retain: true}, kept, nil)
}

// PublishOwn publishes a message of the gateway's own that is not retained.
func (b *Broker) PublishOwn(topic string, payload []byte) error {
	return b.deliver(&message{topic: topic, payload: payload, qos: anyQoS}, nil)
}

// changeExpiry is a DISCONNECT that says how long the session is to live on.
func (b *Broker) changeExpiry(s *session, seconds uint32) error {
	b.sessions.mu.Lock()
	defer b.sessions.mu.Unlock()
	if s.keep == 0 && seconds > 0 {
		return packets.ErrProtocolViolationZeroNonZeroExpiry
	}
	s.keep = min(time.Duration(seconds)*time.Second, b.opts.SessionExpiry)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.durable = s.keep > 0
	s.changed(true)
	return nil
}
