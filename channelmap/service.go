package channelmap

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// SenderName is the name of the sender of what comes in. It is the gateway's own: nobody else
// can register it. Its id is the same at each start.
const SenderName = "map"

// Protocol is how a message that came in by a map was taken, here or at a gateway that shares
// its channels.
var Protocol = bridge.NewProtocol("map")

// Misfit is the reason for a drop of what a template could not read.
var Misfit = bridge.NewReason("misfit")

// Tree is a broker's topic tree, beside the gateway's own topics.
type Tree interface {
	// Listen has Service.Hear called, from now on, with each message that somebody else than
	// this gateway publishes on a topic that matches one of the filters: once, however many
	// match. The filters take the place of those of an earlier call; none ends it. For those
	// with Retained, Hear is also called with what is retained when they are new.
	Listen([]Filter)
	// Publish publishes a message in the gateway's name. It keeps the payload, and waits for no
	// receiver. An error says that nobody gets it.
	Publish(topic string, payload []byte, qos byte, retain bool) error
}

// The most messages and bytes that wait, in each direction.
const (
	mostWaiting      = 1024
	mostWaitingBytes = 4 << 20
)

// Service carries messages between channels and a tree. New starts nothing.
type Service struct {
	hub  *bridge.Hub
	tree Tree
	log  *logrus.Logger
	tap  *bridge.Link

	maps    atomic.Pointer[Maps]
	hold    atomic.Pointer[bridge.Hold] // of the sender; nil: there was no map in yet
	heard   chan arrival
	waiting atomic.Int64 // messages in heard, and the one that is being said
	bytes   atomic.Int64 // of them
	quiet   atomic.Bool

	skipped [len(skips)]atomic.Uint64

	mu        sync.Mutex // guards these, and the order of calls of Listen
	listening bool
	told      map[complaint]time.Time // when the log last had something of a line
}

// skips are the outcomes of messages that a map lets alone, as it is meant to.
var skips = [...]Outcome{Empty, Unmatched, Stored, Twice}

// arrival is a message that a tree gave.
type arrival struct {
	topic    string
	payload  []byte
	retained bool
}

// complaint is what the log has once a minute.
type complaint struct {
	channel bridge.Channel
	place   int
	topic   string
	why     bridge.Reason
}

// New returns a service for maps, which may be none. It is called before the first message.
func New(hub *bridge.Hub, all *Maps, log *logrus.Logger) *Service {
	s := &Service{hub: hub, log: log, heard: make(chan arrival, mostWaiting), told: map[complaint]time.Time{}}
	s.put(all)
	s.tap = hub.AddTap(Protocol, mostWaiting, mostWaitingBytes, s.wants)
	return s
}

// put puts maps in force, and makes the sender if they need it.
func (s *Service) put(all *Maps) {
	if len(all.in) > 0 && s.hold.Load() == nil {
		hold := s.hub.Holds().Own(SenderName)
		hold.Present(Protocol)
		s.hold.Store(hold)
	}
	s.maps.Store(all)
}

// Dock gives the service its tree, once, before Serve.
func (s *Service) Dock(t Tree) { s.tree = t }

// wants runs in the publishers' goroutines.
func (s *Service) wants(m *bridge.Message) bool {
	return m.Via != Protocol && s.maps.Load().goesOut(m.Channel)
}

// Change puts other maps in force.
func (s *Service) Change(all *Maps) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(all)
	if s.listening {
		s.tree.Listen(all.Filters())
	}
}

// listen begins or ends to listen.
func (s *Service) listen(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listening = on
	if on {
		s.tree.Listen(s.maps.Load().Filters())
	} else {
		s.tree.Listen(nil)
	}
}

// Hear takes a message of the tree. Retained says that it was retained before the tree listened
// there. Hear waits for nothing and does not keep the payload. What finds no room is dropped
// and counted. Any goroutine may call it; the order of one goroutine's calls is kept.
func (s *Service) Hear(topic string, payload []byte, retained bool) {
	if place, _, _ := s.hub.Tree().ParsePublish(topic); place != bridge.Outside || s.quiet.Load() {
		return
	}
	n := int64(len(payload))
	s.waiting.Add(1)
	if s.bytes.Add(n) <= mostWaitingBytes {
		select {
		case s.heard <- arrival{topic, bytes.Clone(payload), retained}:
			return
		default:
		}
	}
	s.done(n)
	s.hub.Counters().Drop(Protocol, bridge.LinkFull, 1)
}

func (s *Service) done(bytes int64) {
	s.bytes.Add(-bytes)
	s.waiting.Add(-1)
}

// Serve carries until ctx ends, and returns when all that it started has ended.
func (s *Service) Serve(ctx context.Context) error {
	var own sync.WaitGroup
	own.Go(func() { s.carryIn(ctx) })
	own.Go(func() { s.tap.Run(ctx, s.carryOut) })
	s.listen(true)
	<-ctx.Done()
	s.listen(false)
	own.Wait()
	if hold := s.hold.Load(); hold != nil {
		s.hub.Holds().Release(hold)
	}
	return nil
}

// quiesceEvery is how often Quiesce looks whether all is said.
const quiesceEvery = 5 * time.Millisecond

// Quiesce takes nothing more in, and waits until what was taken is said. Messages still go out.
func (s *Service) Quiesce(ctx context.Context) {
	s.quiet.Store(true)
	t := time.NewTicker(quiesceEvery)
	defer t.Stop()
	for s.waiting.Load() > 0 {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// carryIn says on channels what comes in.
func (s *Service) carryIn(ctx context.Context) {
	for {
		select {
		case a := <-s.heard:
			for _, c := range s.maps.Load().In(a.topic, a.payload, a.retained) {
				s.say(c)
			}
			s.done(int64(len(a.payload)))
		case <-ctx.Done():
			s.dropWaiting()
			return
		}
	}
}

// dropWaiting counts what was not said in time.
func (s *Service) dropWaiting() {
	for {
		select {
		case a := <-s.heard:
			s.done(int64(len(a.payload)))
			s.hub.Counters().Drop(Protocol, bridge.LinkFull, 1)
		default:
			return
		}
	}
}

func (s *Service) say(c Crossing) {
	if c.Outcome != Crosses {
		s.lost(c)
		return
	}
	_, err := s.hub.Publish(s.hold.Load().Sender(), bridge.Publication{
		Type: bridge.Broadcast, Channels: []bridge.Channel{c.Channel}, Content: bridge.Content{Data: c.Payload},
		Via: Protocol, Outside: true, Wait: true,
	})
	var refusal *bridge.Error
	switch {
	case !errors.As(err, &refusal), refusal.Code == bridge.BusFailed: // it was said, waits for others, or who is behind has counted it
	case refusal.Code == bridge.MessageTooLarge:
		s.drop(c, bridge.TooLarge, err.Error())
	default:
		s.drop(c, bridge.Refused, err.Error())
	}
}

// carryOut publishes what channels say.
func (s *Service) carryOut(jobs []bridge.Job) {
	for _, j := range jobs {
		for _, c := range s.maps.Load().Out(j.Message) {
			if c.Outcome != Crosses {
				s.lost(c)
			} else if err := s.tree.Publish(c.Topic, c.Payload, c.QoS, c.Retain); err != nil {
				s.drop(c, bridge.Refused, err.Error())
			} else {
				s.hub.Counters().Out(Protocol, 1)
			}
		}
		j.Done(s.hub.Counters(), Protocol, 0, 0)
	}
}

// lost counts a message that does not cross.
func (s *Service) lost(c Crossing) {
	if c.Outcome == Failed {
		s.drop(c, Misfit, c.Why)
		return
	}
	for i, o := range skips {
		if o == c.Outcome {
			s.skipped[i].Add(1)
		}
	}
}

// Skipped returns how many messages the maps let alone, by the outcome's name.
func (s *Service) Skipped() map[string]uint64 {
	all := map[string]uint64{}
	for i, o := range skips {
		all[o.String()] = s.skipped[i].Load()
	}
	return all
}

// The log has the same drop of a line once in complainEvery, of so many lines and topics.
const (
	complainEvery  = time.Minute
	mostComplaints = 1024
)

// drop counts a message that should have crossed, and logs it.
func (s *Service) drop(c Crossing, why bridge.Reason, text string) {
	s.hub.Counters().Drop(Protocol, why, 1)
	key, now := complaint{c.Channel, c.Place, c.Topic, why}, s.hub.Now()
	s.mu.Lock()
	last, known := s.told[key]
	quiet := known && now.Sub(last) < complainEvery
	if !quiet {
		if len(s.told) >= mostComplaints {
			clear(s.told)
		}
		s.told[key] = now
	}
	s.mu.Unlock()
	if !quiet {
		s.log.WithFields(logrus.Fields{"channel": c.Channel, "map": c.Place, "topic": c.Topic, "reason": why.String()}).Warn("a map did not carry a message: " + text)
	}
}
