// Package harness has helpers for the tests of several packages: a hub with a loopback bus,
// servers that end with their test, waiting, a device of basic frames. Only tests import it.
package harness

import (
	"context"
	"errors"
	"io"
	"runtime/pprof"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
)

// Patience is how long a test waits for an event, also on a busy machine.
const Patience = 30 * time.Second

// Silent returns a logger that discards everything.
func Silent() *logrus.Logger {
	log := logrus.New()
	log.SetOutput(io.Discard)
	return log
}

// Loopback is a bus that delivers each message to the hub directly.
type Loopback struct {
	hub *bridge.Hub
	via bridge.Protocol

	mu  sync.Mutex
	err error
}

func (b *Loopback) Protocol() bridge.Protocol { return b.via }

func (b *Loopback) Publish(m *bridge.Message) error {
	b.mu.Lock()
	err := b.err
	b.mu.Unlock()
	return errors.Join(err, b.hub.Deliver(m, nil))
}

func (b *Loopback) PublishOwn(string, []byte) error { return nil }

func (b *Loopback) PublishRetained(string, []byte) error { return nil }

// Fail makes Publish return err from now on.
func (b *Loopback) Fail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = err
}

// Hub returns a hub and its bus. Empty limits, senders and log get defaults.
func Hub(t testing.TB, via bridge.Protocol, o bridge.Options) (*bridge.Hub, *Loopback) {
	t.Helper()
	settings := config.Default()
	if o.Limits == (config.Limits{}) {
		o.Limits = settings.Limits
	}
	if o.Senders == (config.Senders{}) {
		o.Senders = settings.Senders
	}
	if o.Log == nil {
		o.Log = Silent()
	}
	hub, err := bridge.New(o)
	require.NoError(t, err)
	bus := &Loopback{hub: hub, via: via}
	hub.SetBus(bus)
	return hub, bus
}

// Serve runs servers until stop is called or the test ends. Stop waits for them.
func Serve(t testing.TB, servers ...func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, len(servers))
	for _, serve := range servers {
		go func() { done <- serve(ctx) }()
	}
	stop = sync.OnceFunc(func() {
		cancel()
		late := time.After(Patience)
		for range servers {
			select {
			case err := <-done:
				assert.NoError(t, err)
			case <-late:
				var all strings.Builder
				_ = pprof.Lookup("goroutine").WriteTo(&all, 1)
				t.Error("Serve does not return. What runs:\n" + all.String())
				return
			}
		}
	})
	t.Cleanup(stop)
	return stop
}

// Eventually polls until f returns true. It is for conditions without an event.
func Eventually(t testing.TB, f func() bool, why ...any) {
	t.Helper()
	if !Within(Patience, f) {
		require.Fail(t, "this does not become true", why...)
	}
}

// Within polls until f returns true, and reports false if it does not within d. A pause is a
// fifth of the time so far, from 1 to 50 ms: who waits long takes no time from others.
func Within(d time.Duration, f func() bool) bool {
	for begun := time.Now(); !f(); {
		passed := time.Since(begun)
		if passed > d {
			return false
		}
		time.Sleep(min(max(passed/5, time.Millisecond), 50*time.Millisecond))
	}
	return true
}

// Speaker makes a sender on a channel. say publishes as that sender, and waits for full queues.
func Speaker(t testing.TB, hub *bridge.Hub, via bridge.Protocol, channel bridge.Channel) (id uint32, say func([]byte, func(bridge.Report))) {
	t.Helper()
	hold := hub.Holds().New(func() {})
	t.Cleanup(func() { hub.Holds().Release(hold) })
	require.NoError(t, hub.Attach(hold.Sender(), channel, &bridge.Attachment{Via: via, Broadcasts: true}))
	return uint32(hold.Sender().ID()), func(data []byte, report func(bridge.Report)) {
		_, err := hub.Publish(hold.Sender(), bridge.Publication{
			Channels: []bridge.Channel{channel}, Content: bridge.Content{Data: data}, Wait: true, Report: report,
		})
		require.NoError(t, err)
	}
}

// Allocations measures the allocations for one message to a channel's members, until its
// report.
func Allocations(t testing.TB, hub *bridge.Hub, via bridge.Protocol, channel bridge.Channel) float64 {
	_, say := Speaker(t, hub, via, channel)
	data, done := make([]byte, 64), make(chan struct{})
	report := func(bridge.Report) { done <- struct{}{} }
	return testing.AllocsPerRun(500, func() {
		say(data, report)
		<-done
	})
}
