package mqtt_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/cluster"
	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/mqtt"
)

// network carries frames between the gateways of a test.
type network struct {
	mu    sync.RWMutex
	nodes map[bridge.Slot]*cluster.Node
	cut   map[bridge.Slot]bool // who hears nobody and is not heard
}

var errCut = errors.New("cut")

// reach returns the node of a slot for another; nil: it cannot be reached.
func (n *network) reach(from, to bridge.Slot) *cluster.Node {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.cut[from] || n.cut[to] {
		return nil
	}
	return n.nodes[to]
}

func (n *network) set(slot bridge.Slot, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[slot] = cut
}

type socket struct {
	harness.Pump
	*network
	own bridge.Slot
}

func (s *socket) carry(b []byte) {
	for slot := bridge.Slot(1); slot <= 3; slot++ {
		if to := s.reach(s.own, slot); to != nil && slot != s.own {
			to.Take(b)
		}
	}
}

func (s *socket) ask(ctx context.Context, to bridge.Slot, patience time.Duration, answer func(*cluster.Node) []byte) ([]byte, error) {
	node := s.reach(s.own, to)
	if node == nil {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		<-ctx.Done()
		return nil, errCut
	}
	return answer(node), nil
}

func (s *socket) Request(ctx context.Context, to bridge.Slot, b []byte, patience time.Duration) ([]byte, error) {
	return s.ask(ctx, to, patience, func(n *cluster.Node) []byte { return n.Answer(b) })
}

func (s *socket) Ask(ctx context.Context, to bridge.Slot, b []byte, patience time.Duration) ([]byte, error) {
	return s.ask(ctx, to, patience, func(n *cluster.Node) []byte { return n.AnswerBus(b) })
}

// neighbours builds houses that share their channels.
func neighbours(t *testing.T, houses int, change func(*mqtt.Options)) (all []*house, net *network) {
	net = &network{nodes: map[bridge.Slot]*cluster.Node{}, cut: map[bridge.Slot]bool{}}
	for i := range houses {
		all = append(all, net.build(t, bridge.Slot(i+1), change))
	}
	for _, h := range all {
		require.Eventually(t, func() bool {
			h.hub.Peers().Points().Meet(t.Context())
			return len(h.hub.Peers().Others()) == houses-1
		}, 5*time.Second, time.Millisecond)
	}
	return all, net
}

func (n *network) build(t *testing.T, slot bridge.Slot, change func(*mqtt.Options)) *house {
	log, logs := logtest.NewNullLogger()
	name := fmt.Sprint("g", slot)
	settings := config.Default()
	hub, err := bridge.New(bridge.Options{
		SecretKey: key, Limits: settings.Limits, Linger: time.Second, Senders: settings.Senders, ListedFor: time.Hour,
		Tree: bridge.NewTree("watchtower", name), Log: log, IDKey: []byte("one space"), Slot: slot,
	})
	require.NoError(t, err)
	end := &socket{network: n, own: slot}
	node := cluster.New(hub, end, cluster.Options{Slot: slot, Name: name, Run: uint64(time.Now().UnixNano())}, log)
	end.Next, end.Send = node.Next, end.carry
	opts := mqtt.Options{MQTT: settings.MQTT, Limits: settings.Limits}
	opts.Listen = "127.0.0.1:0"
	if change != nil {
		change(&opts)
	}
	broker, err := mqtt.New(hub, opts, log)
	require.NoError(t, err)
	hub.SetBus(broker)
	require.NoError(t, broker.Listen())
	n.mu.Lock()
	n.nodes[slot] = node
	n.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	var parts sync.WaitGroup
	parts.Go(func() { _ = node.Serve(ctx) })
	parts.Go(func() { _ = broker.Serve(ctx) })
	parts.Go(func() { hub.Run(ctx) })
	h := &house{t: t, hub: hub, broker: broker, addr: broker.Addr().String(), logs: logs}
	h.stop = sync.OnceFunc(func() {
		cancel()
		parts.Wait()
	})
	t.Cleanup(h.stop)
	return h
}

// sessionsIn counts the sessions of all houses.
func sessionsIn(all []*house) (n int) {
	for _, h := range all {
		n += h.broker.Stats().Sessions
	}
	return n
}
