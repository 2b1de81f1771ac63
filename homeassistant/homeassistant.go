package homeassistant

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
	"watchtower/config"
)

// Bus is what the package needs of the broker. Its publish methods put messages into
// bounded queues and return at once.
type Bus interface {
	// PublishOwn publishes a message that is not retained.
	PublishOwn(topic string, payload []byte) error
	// PublishRetained publishes a retained message, which ends with the process: the next
	// start publishes it again. An empty payload removes it.
	PublishRetained(topic string, payload []byte) error
	// PublishKept does the same with a message that outlives the process. Lifetime is how
	// long it is retained; 0: until it is replaced.
	PublishKept(topic string, payload []byte, lifetime time.Duration) error
	// Retained returns a topic's retained message, or nil.
	Retained(topic string) []byte
	// Watch calls f, in the publisher's goroutine, with each message on a topic, and with the
	// client that published it, or nil.
	Watch(filter string, f func(topic string, payload []byte, from bridge.Client)) (end func())
	// Subscribers returns the clients that are connected and get the messages on a topic.
	Subscribers(topic string) []bridge.Client
	// OnRemoval has f called when a client removes one of the gateway's discovery messages:
	// in the client's goroutine, before it is acknowledged. F calls remove to have that done
	// for all others, or returns why it is refused.
	OnRemoval(f func(topic string, remove func()) error)
	// OnRefusal has f called with refused publishes of clients, once a minute at most for each
	// client and topic: in the client's goroutine.
	OnRefusal(f func(bridge.Refusal))
}

// Memory keeps one document over restarts.
type Memory interface {
	Load() ([]byte, error)
	Save([]byte) error
}

// Options of a Service: settings, and values that are no settings.
type Options struct {
	config.HomeAssistant
	config.Limits
	Pace

	Channels map[bridge.Channel]string // names of the announced channels; empty: all is withdrawn
	Apart    map[bridge.Channel]bool   // those that are devices of their own
	Version  string                    // of the program
	Queue    int                       // the most messages that wait to be mirrored; 0: 1024
}

// Pace is how much time Home Assistant gets. 0 means the default.
type Pace struct {
	Every  time.Duration // least time between two writes of one retained topic, and between two rounds of discovery; 1 s
	Settle time.Duration // how long Home Assistant may take to do what discovery says, before the next step; 2 s
	Spread time.Duration // most between two discovery messages of many; 20 ms
	Answer time.Duration // over which the messages of an answer to a birth are spread; 2 s
	Absent time.Duration // how long leftovers wait for the first birth message after the start; 5 min
}

func (p Pace) orUsual() Pace {
	return Pace{
		Every: cmp.Or(p.Every, time.Second), Settle: cmp.Or(p.Settle, 2*time.Second),
		Spread: cmp.Or(p.Spread, 20*time.Millisecond), Answer: cmp.Or(p.Answer, 2*time.Second), Absent: cmp.Or(p.Absent, 5*time.Minute),
	}
}

// The most messages and bytes that wait to be mirrored.
const (
	mirrorQueue = 1024
	mirrorBytes = 4 << 20
)

// Service keeps Home Assistant informed. New starts nothing.
type Service struct {
	hub    *bridge.Hub
	tree   *bridge.Tree
	bus    Bus
	memory Memory
	opts   Options
	log    *logrus.Logger
	tap    *bridge.Link // nil: no channel is announced
	shared bool         // somebody else runs the tap
	noisy  *throttle    // only for the tap's goroutine
	voice  voice

	joining map[bridge.SenderID]*joining // only for the tap's goroutine

	births  chan struct{} // a house was born
	birth   atomic.Int64  // when, in Unix milliseconds; 0: not since the start
	changed chan struct{} // a device came, changed or went
	asked   chan struct{} // somebody wants all devices to describe themselves again

	refusals chan bridge.Refusal // that are to be told
	untold   atomic.Int64        // those that did not fit, since the last one that was told

	untoldOf map[bridge.Channel]int // devices of channels that are not announced now, as they were at the last start; only until Serve

	clearing <-chan time.Time // when the leftovers are cleared; nil: there are none. Only for follow's goroutine

	order sync.Mutex                      // guards these, and the order of discovery; taken before mu
	known known                           // what Home Assistant may know
	saved []byte                          // known as it is on disk
	seen  map[string]map[string]discovery // removals by topic, by the name of who saw them and was not born yet

	mu      sync.Mutex                   // guards all below, and the order of retained messages
	born    []bridge.Client              // houses whose birth is not answered yet
	homes   map[bridge.SenderID]struct{} // clients that were born since the start
	asleep  map[*bridge.Sender]struct{}  // clients that stay connected, and say that the house behind them is away
	names   map[bridge.Channel]string    // names of channels for people
	quiet   bool                         // after Quiesce
	devices map[bridge.SenderID]*device
	due     map[string][]byte // payloads of retained topics that wait to be written
	wake    chan struct{}     // signals that something is due
	faults  map[bridge.SenderID]Fault
}

// New returns a service with the devices that the memory knows. It is called
// before the first message.
func New(hub *bridge.Hub, bus Bus, memory Memory, opts Options, log *logrus.Logger) (*Service, error) {
	opts.Pace = opts.orUsual()
	s, err := build(hub, hub.Tree(), bus, memory, opts, log)
	if err == nil && len(opts.Channels) > 0 {
		s.tap = hub.AddTap(0, cmp.Or(opts.Queue, mirrorQueue), mirrorBytes, s.wants)
	}
	return s, err
}

// build returns a service without a tap.
func build(hub *bridge.Hub, tree *bridge.Tree, bus Bus, memory Memory, opts Options, log *logrus.Logger) (*Service, error) {
	s := &Service{
		hub: hub, tree: tree, bus: bus, memory: memory, opts: opts, log: log, noisy: newThrottle(),
		births: make(chan struct{}, 1), asked: make(chan struct{}, 1), changed: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		refusals: make(chan bridge.Refusal, refusalsWaiting),
		devices:  map[bridge.SenderID]*device{}, due: map[string][]byte{}, names: opts.Channels,
		faults: map[bridge.SenderID]Fault{}, joining: map[bridge.SenderID]*joining{},
		homes: map[bridge.SenderID]struct{}{}, asleep: map[*bridge.Sender]struct{}{}, seen: map[string]map[string]discovery{},
	}
	var err error
	if s.known, err = s.load(); err != nil {
		return nil, err
	}
	s.restoreAll()
	return s, nil
}

// wants runs in the publishers' goroutines.
func (s *Service) wants(m *bridge.Message) bool {
	_, asked := s.opts.Channels[m.Channel]
	return asked
}

// Rename gives channels other names. It does not change which channels are announced.
func (s *Service) Rename(names map[bridge.Channel]string) {
	s.mu.Lock()
	s.names = names
	s.mu.Unlock()
	signal(s.changed)
}

// Serve works until ctx ends, and returns when all that it started has ended. If ctx has ended
// already, as at a start that fails, it changes nothing of what Home Assistant knows.
func (s *Service) Serve(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil
	}
	s.sayUntold()
	var own sync.WaitGroup
	stop := s.bus.Watch(s.opts.BirthTopic, s.onBirth)
	defer stop()
	if s.tap != nil {
		defer s.bus.Watch(s.askTopic(), func(string, []byte, bridge.Client) { signal(s.asked) })()
	}
	s.forget()
	s.order.Lock()
	all, gone := s.compare()
	_ = s.remember()
	s.order.Unlock()
	s.bus.OnRemoval(s.onRemoval)
	if s.tap != nil {
		s.bus.OnRefusal(s.onRefusal)
		own.Go(func() { s.tellRefusals(ctx) })
		if !s.shared {
			own.Go(func() { s.tap.Run(ctx, s.hear) })
		}
		own.Go(func() { s.write(ctx) })
	}
	own.Go(func() {
		s.tell(ctx, all, gone, false)
		s.clearSoon()
		s.follow(ctx)
	})
	own.Wait()
	s.voice.end(s.hub)
	return nil
}

// Quiesce ends the repeating of retained topics, so that the gateway's last status stays.
// Messages are still mirrored, but their retained topics are written at once.
func (s *Service) Quiesce(context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quiet = true
	s.writeLocked()
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// channels lists the announced channels, ascending.
func (s *Service) channels() []bridge.Channel {
	all := make([]bridge.Channel, 0, len(s.opts.Channels))
	for c := range s.opts.Channels {
		all = append(all, c)
	}
	slices.Sort(all)
	return all
}

// failed logs an error of the bus or the memory, if there is one.
func (s *Service) failed(what string, err error) {
	if err != nil {
		s.log.WithError(err).Warn("Home Assistant: " + what)
	}
}
