package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"watchtower/bridge"
)

// barriers have the broker say a word to the gateway behind all that it had kept. A word that
// the gateway did not ask for must not come.
type barriers struct {
	bus    *Bus
	agreed bool // the broker keeps the gateway's own messages away; for one goroutine

	mu     sync.Mutex
	word   string // of the connection for what is said
	echoed bool   // it came
	waits  map[string]chan struct{}
}

// wordEvery is how long a word may take until it is said again: the broker's queue may have been
// full.
const wordEvery = time.Second

// answerEvery is between two looks whether the broker has acknowledged a message.
const answerEvery = 5 * time.Millisecond

func (s *barriers) topic(c *client) string {
	if c == s.bus.control {
		return s.bus.about + "/barrier/control"
	}
	return s.bus.about + "/barrier"
}

func (s *barriers) echo() string { return s.bus.about + "/echo" }

// subscribe has both clients hear their words.
func (s *barriers) subscribe() {
	s.waits = map[string]chan struct{}{}
	b := s.bus
	for _, c := range []*client{b.client, b.control} {
		c.subscribe(&subscription{filter: s.topic(c), qos: 1, echo: true, handler: s.passed})
	}
	b.client.subscribe(&subscription{filter: s.echo(), qos: 1, handler: s.came})
}

// passed hears the gateway's word to itself.
func (s *barriers) passed(m *received) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.waits[string(m.payload)]; c != nil {
		close(c)
		delete(s.waits, string(m.payload))
	}
}

// came hears a word that should not come. It may be somebody else's.
func (s *barriers) came(m *received) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.echoed = s.echoed || string(m.payload) == s.word
}

// pass returns once all has come that the broker had kept for a client. It fails if the broker
// cannot be used.
func (s *barriers) pass(ctx context.Context, c *client) error {
	word, came := rand.Text(), make(chan struct{})
	s.mu.Lock()
	s.waits[word] = came
	if c == s.bus.client {
		s.word, s.echoed = word, false
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.waits, word)
		s.mu.Unlock()
	}()
	if c == s.bus.client {
		c.publish(&publish{topic: []byte(s.echo()), payload: []byte(word), qos: 1}, c.said())
	}
	until, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	again := time.NewTicker(wordEvery)
	defer again.Stop()
	for waiting := true; waiting; {
		s.say(until, c, word)
		select {
		case <-came:
			waiting = false
		case <-until.Done():
			waiting = false
			if ctx.Err() == nil {
				s.bus.log.WithField("topic", s.topic(c)).Warn("the foreign broker does not give the gateway its own message back: see its access rules")
			}
		case <-again.C:
		}
	}
	for !c.outbox.answered() && until.Err() == nil {
		wait(until, answerEvery)
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case !c.outbox.answered():
		return errDeaf
	}
	if c != s.bus.client {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.echoed && !s.agreed {
		return ErrNoLocal
	}
	s.agreed = true
	return nil
}

// say has the broker say a word. One of MQTT 3.1.1 gives a bridge nothing of its own, so there it
// is said on another connection.
func (s *barriers) say(ctx context.Context, c *client, word string) {
	topic := s.topic(c)
	if c.version() == version5 {
		c.publish(&publish{topic: []byte(topic), payload: []byte(word), qos: 1}, version5)
		return
	}
	l := c.login
	l.client, l.clean, l.will = "watchtower-word-"+rand.Text()[:8], true, nil
	other, err := connect(ctx, l, version3)
	if err == nil {
		defer other.until(ctx)()
		_, err = other.say(topic, word)
		err = errors.Join(err, other.Close())
	}
	if err != nil && ctx.Err() == nil && s.bus.noisy.Allow(topic, "", s.bus.hub.Now()) {
		s.bus.log.WithError(fmt.Errorf("%s: %w", bridge.Shorten(topic), err)).Warn("the gateway's word to itself was not said at the foreign broker")
	}
}
