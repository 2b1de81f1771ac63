package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"watchtower/bridge"
	"watchtower/callback"
	"watchtower/cluster"
	"watchtower/cluster/nats"
	"watchtower/history"
	"watchtower/homeassistant"
	"watchtower/mqtt"
	"watchtower/operator"
)

// space is what the gateway shares with others: their channels and senders.
type space struct {
	transport *nats.Transport
	place     *nats.Membership
	directory *nats.Directory
	tree      *bridge.Tree // of the topics that Home Assistant reads, in the name of the space
	leases    *nats.Leases
	retained  *nats.Retained
	callbacks *nats.Documents
	sessions  *nats.Sessions
	node      *cluster.Node
	hub       *bridge.Hub
	broker    *mqtt.Broker
}

// spaceDocument is where the gateway keeps its place in the space.
const spaceDocument = "space"

// joinSpace finds the gateway's place among the others, if it is to have one.
func (g *Gateway) joinSpace() error {
	if g.cfg.Cluster.URL == "" {
		return nil
	}
	kept := g.store.Document(spaceDocument)
	var known *nats.Membership
	b, err := kept.Load()
	if err == nil && len(b) > 0 {
		known = &nats.Membership{}
		err = json.Unmarshal(b, known)
	}
	if err != nil {
		return fmt.Errorf("data_dir: the gateway's place in the space cannot be read: %w", err)
	}
	if g.name == g.cfg.Cluster.Space {
		return fmt.Errorf("gateway.name: %q is the name of the space (cluster.space), by which Home Assistant knows all gateways together: choose another", g.name)
	}
	s := &space{tree: bridge.NewTree(g.cfg.MQTT.BaseTopic, g.cfg.Cluster.Space)}
	if s.transport, err = nats.Connect(nats.Options{Cluster: g.cfg.Cluster, Limits: g.cfg.Limits, Gateway: g.name}, g.log); err != nil {
		return err
	}
	own := nats.Keys{ID: g.secrets.idKey, Pass: g.passKey, Callback: g.signingKey, Generation: g.secrets.generation}
	if s.place, err = s.transport.Join(context.Background(), g.id, g.secrets.key, known, own); err != nil {
		s.transport.Close()
		return err
	}
	if b, err = json.Marshal(s.place); err == nil {
		err = kept.Save(b)
	}
	if err != nil {
		s.transport.Close()
		return fmt.Errorf("data_dir: the gateway's place in the space cannot be kept: %w", err)
	}
	g.passKey, g.signingKey = s.place.Keys.Pass, s.place.Keys.Callback
	s.directory = nats.NewDirectory(s.transport, g.store, g.cfg.Senders.ExpireAfter, known != nil && known.Space == s.place.Space, g.log)
	s.leases = nats.NewLeases(s.transport, s.place.Slot, g.log)
	s.retained = nats.NewRetained(s.transport, g.log)
	s.sessions = nats.NewSessions(s.transport, g.log)
	g.space = s
	g.log.WithField("space", s.place.Space).WithField("slot", s.place.Slot).Info("the gateway shares its channels")
	return nil
}

// shape gives the hub what the space's gateways have in common.
func (s *space) shape(o *bridge.Options) {
	if s == nil {
		return
	}
	o.Store, o.Slot, o.IDKey, o.PassKey, o.Generation = s.directory, s.place.Slot, s.place.Keys.ID, s.place.Keys.Pass, s.place.Keys.Generation
	o.Space = s.place.Space
}

// shareChannels connects the hub to the other gateways.
func (g *Gateway) shareChannels() {
	if g.space == nil {
		return
	}
	g.space.hub = g.hub
	g.space.node = cluster.New(g.hub, g.space.transport, cluster.Options{Slot: g.space.place.Slot, Name: g.name, Run: uint64(time.Now().UnixNano())}, g.log)
}

func newCluster(g *Gateway) (Server, []Port, error) {
	if g.space == nil {
		return nil, nil, nil
	}
	g.space.broker = g.broker
	g.broker.LeaveSessions()
	return g.space, nil, nil
}

// Serve shares what happens here, and delivers what others share, until ctx ends.
func (s *space) Serve(ctx context.Context) error {
	life, end := context.WithCancel(ctx)
	defer end()
	var own sync.WaitGroup
	own.Go(func() { s.directory.Serve(life, s.hub) })
	own.Go(func() { s.retained.Serve(life, s.broker) })
	own.Go(func() { s.callbacks.Serve(life) })
	own.Go(func() { s.sessions.Serve(life, s.broker) })
	own.Go(func() { s.showHouse(life) })
	own.Go(func() { s.leases.Serve(life) }) // ends when all work that needs a lease has ended
	err := s.transport.Serve(ctx, s.place.Slot, s.node)
	if err != nil {
		s.leases.Abandon()
	}
	end()
	own.Wait()
	s.transport.Close()
	return err
}

// holderEvery is the time between two looks at whether somebody tells Home Assistant.
const holderEvery = 500 * time.Millisecond

// showHouse says to the clients of this gateway whether the devices of the space are available: while
// some gateway tells Home Assistant of them, as far as this one knows.
func (s *space) showHouse(ctx context.Context) {
	t := time.NewTicker(holderEvery)
	defer t.Stop()
	shown := ""
	show := func(word string) {
		if word != shown && s.broker.PublishRetained(s.tree.Status(), []byte(word)) == nil {
			shown = word
		}
	}
	for {
		select {
		case <-ctx.Done():
			show("offline")
			return
		case <-t.C:
		}
		if s.leases.HasHolder(homeassistant.LeaseName) {
			show("online")
		} else {
			show("offline")
		}
	}
}

// apart says why the gateway does not share its channels just now, though it should. Nil: it does,
// or is alone by its settings.
func (g *Gateway) apart() error {
	if g.space == nil {
		return nil
	}
	return g.space.directory.Healthy()
}

// shownSpace is what operators see of the space; nil: the gateway is alone.
func (g *Gateway) shownSpace() *operator.Space {
	if g.space == nil {
		return nil
	}
	stats := g.broker.Stats()
	return &operator.Space{
		Name: g.space.place.Space, Server: g.space.transport.Server(), Fault: g.apart(), Leases: g.leaseHolders(),
		Sessions: operator.SpaceSessions{
			Here: stats.Sessions, Waiting: stats.Away,
			Came: stats.Moved.Came, Bare: stats.Moved.Bare, Adopted: stats.Moved.Adopted, Given: stats.Moved.Given,
		},
	}
}

// mqttSessions counts the MQTT sessions here by what their clients do, and those that have moved between
// gateways by how: none if the gateway is alone.
func (g *Gateway) mqttSessions() (now map[string]int, moved map[string]uint64) {
	stats := g.broker.Stats()
	now = map[string]int{"connected": stats.Sessions - stats.Away, "away": stats.Away}
	if !g.hub.Peers().Alone() {
		m := stats.Moved
		moved = map[string]uint64{"came": m.Came, "bare": m.Bare, "adopted": m.Adopted, "given": m.Given}
	}
	return now, moved
}

// callbackSpace is what callbacks share with other gateways; nil: the gateway is alone.
func (g *Gateway) callbackSpace() *callback.Space {
	s := g.space
	if s == nil {
		return nil
	}
	return &callback.Space{Slot: s.place.Slot, Leases: s.leases, Changes: g.store.Document("unshared_callbacks"), Documents: func(owner bridge.DocumentOwner) bridge.Documents {
		s.callbacks = nats.NewDocuments(s.transport, "callback.", owner, g.log)
		return s.callbacks
	}}
}

// leaseHolders lists who does what only one gateway of the space does; nil: the gateway is alone.
func (g *Gateway) leaseHolders() []bridge.LeaseHolder {
	if g.space == nil {
		return nil
	}
	return g.space.leases.Holders()
}

// Quiesce does nothing: there are no requests.
func (s *space) Quiesce(context.Context) {}

// pastOf returns what was said on channels since a time, of sends only those to a sender.
func (g *Gateway) pastOf(channels []bridge.Channel, to *bridge.Sender, since time.Time) (all []*bridge.Message) {
	_ = g.past.Join(func(now history.Moment) error {
		all = now.Missed(history.SinceAge(time.Since(since)), channels, to, false).Messages
		return nil
	})
	return all
}
