// Package gateway puts the parts together, starts and stops them: configuration, store,
// hub, bus and the protocols. It is the only package that imports all of them. It has no
// rules of its own about messages.
package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/bridge/store"
	"watchtower/callback"
	"watchtower/channelmap"
	"watchtower/config"
	"watchtower/console"
	"watchtower/history"
	"watchtower/homeassistant"
	"watchtower/http"
	"watchtower/intake"
	"watchtower/mqtt"
	"watchtower/mqtt/remote"
	mqttstore "watchtower/mqtt/store"
	"watchtower/operator"
	"watchtower/ticker"
	"watchtower/wire/frame"
	"watchtower/wire/keys"
)

// Gateway is the whole program as one object.
type Gateway struct {
	cfg       config.Config
	log       *logrus.Logger
	secrets   secrets
	id        uint32
	name      string
	store     *store.Store
	state     *mqttstore.Store
	unlock    func() // of the data directory
	hub       *bridge.Hub
	intake    *intake.Intake
	broker    *mqtt.Broker
	parts     []*part // in the order in which they start
	house     house
	maps      *channelmap.Service // of channels to other topics
	past      *history.History
	callbacks *callback.Service
	web       *http.Server
	people    *operator.Service // the operators' API
	page      *console.Page     // theirs, in a browser
	certs     *certificates     // nil: no TLS
	secure    *tls.Config       // likewise
	more      []Protocol        // in addition to protocols()
	reloads   *reloads
	tcpPort   uint16 // told to devices that look for the gateway; 0: off

	lastBackup atomic.Int64 // when it was taken, in Unix seconds; 0: none was
	pace       homeassistant.Pace
	rate       rate

	gate      *auth.Gate // shared by all protocols
	passwords *auth.Passwords

	signingKey    []byte // signs callbacks
	passKey       []byte // proves short tokens
	callbackTable *store.Table

	remote *remote.Bus // a foreign broker; nil: none

	space *space // shared with other gateways; nil: the gateway is alone

	deviceKey func() frame.Key // derived when the first device asks for a session
	keys      *keys.Ring       // of the devices
}

// house is what keeps Home Assistant informed.
type house interface {
	Server
	Rename(names map[bridge.Channel]string)
	Snapshot() homeassistant.Snapshot
}

// Option changes something that is no setting.
type Option func(*Gateway)

// New opens the data directory, generates what is missing there, and puts the parts
// together. It starts only the stores, and binds no port.
func New(cfg config.Config, log *logrus.Logger, with ...Option) (*Gateway, error) {
	g := &Gateway{cfg: cfg, log: log, reloads: newReloads(cfg)}
	for _, option := range with {
		option(g)
	}
	if err := os.MkdirAll(cfg.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("data_dir: %w", err)
	}
	if err := g.openStores(); err != nil {
		return nil, errors.Join(fmt.Errorf("data_dir: %w", err), g.closeStores())
	}
	if err := g.assemble(); err != nil {
		return nil, errors.Join(err, g.closeStores())
	}
	return g, nil
}

func (g *Gateway) assemble() error {
	var err error
	if g.secrets, err = loadSecrets(g.cfg); err != nil {
		return err
	}
	if err := g.secrets.settle(g.store); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if g.secrets.changed {
		g.log.WithField("generated", g.secrets.generatedNow).Warn("the secret key is another than at the last start: what the earlier one gave has ended, tokens first of all")
	}
	g.deviceKey = sync.OnceValue(func() frame.Key { return frame.DeviceKey(g.secrets.key) })
	if err := g.identify(); err != nil {
		return err
	}
	if err := g.warnOfNoFile(); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if err := g.openKeys(); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if g.passKey, err = g.store.Meta("pass_key", randomKey); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if g.signingKey, err = g.store.Meta("callback_key", randomKey); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if g.callbackTable, err = g.store.Table("callbacks"); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if err := g.joinSpace(); err != nil {
		return err
	}
	g.gate = auth.NewGate(auth.Options{Limits: g.cfg.Limits}, g.log)
	g.passwords = auth.NewPasswords(g.gate)
	options, err := g.hubOptions()
	if err != nil {
		return err
	}
	if g.hub, err = bridge.New(options); err != nil {
		return err
	}
	g.shareChannels()
	g.hub.Directory().SetRules(rulesOf(g.cfg))
	if err := g.pair(); err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	g.intake = intake.New(g.intakeOptions())
	if g.cfg.TLS.On() {
		if g.certs, err = loadCertificates(g.cfg.TLS, g.log); err != nil {
			return err
		}
		g.secure = g.certs.server()
	}
	if g.people, err = g.newOperator(); err != nil {
		return err
	}
	if g.page, err = console.New(); err != nil {
		return err
	}
	if err := g.speak(); err != nil {
		return err
	}
	g.people.Listen()
	return nil
}

// identify reads the gateway's id, which the first start generated, and its name.
func (g *Gateway) identify() error {
	id, err := g.store.Meta("gateway_id", func() []byte {
		for {
			if id := bridge.RandomUint32(); id != 0 {
				return fmt.Appendf(nil, "%08x", id)
			}
		}
	})
	if err != nil {
		return fmt.Errorf("data_dir: %w", err)
	}
	if _, err := fmt.Sscanf(string(id), "%08x", &g.id); err != nil {
		return fmt.Errorf("data_dir: the gateway's id %q is not one: %w", id, err)
	}
	g.name = string(id)
	if g.cfg.Gateway.Name != "" {
		g.name = g.cfg.Gateway.Name
	}
	return nil
}

// Name returns the gateway's name in topics.
func (g *Gateway) Name() string { return g.name }

// Key returns the secret key in force, and whether this start generated it. The key of an
// open gateway is empty.
func (g *Gateway) Key() (key string, generatedNow bool) {
	return g.secrets.key, g.secrets.generatedNow
}

// AdminKey returns the operator's key, and whether this start generated it.
func (g *Gateway) AdminKey() (key string, generatedNow bool) {
	g.reloads.mu.Lock() // a reload may change it
	defer g.reloads.mu.Unlock()
	return g.secrets.admin, g.secrets.adminNew
}

// Close releases what New and Listen took. It is for a gateway on which Serve was not
// called.
func (g *Gateway) Close() error {
	stopped, cancel := context.WithCancel(context.Background())
	cancel()
	return g.Serve(stopped)
}

// Serve runs the gateway until ctx ends or a part fails. Then it stops in this order,
// within shutdown_timeout: it refuses new requests, drains the queues, ends streams and
// sessions, says goodbye to other gateways, and closes the stores.
func (g *Gateway) Serve(ctx context.Context) error {
	life, endLife := context.WithCancel(context.Background())
	defer endLife()
	failed := make(chan error, len(g.parts))
	var parts, between, hub sync.WaitGroup
	betweenLife, endBetween := context.WithCancel(context.Background())
	defer endBetween()
	hubLife, endHub := context.WithCancel(context.Background())
	defer endHub()
	if ctx.Err() != nil { // it was never to serve: so nothing begins that would tell anybody of this configuration
		endLife()
	}
	hub.Go(func() { g.hub.Run(hubLife) })
	hub.Go(func() { g.describe(hubLife) })
	hub.Go(func() { g.people.Run(hubLife) })
	hub.Go(func() { g.keys.Run(hubLife, g.endOldKeys) })
	for _, p := range g.ready() {
		group, life := &parts, life
		if p.server == g.space {
			group, life = &between, betweenLife
		}
		group.Go(func() {
			if err := p.server.Serve(life); err != nil {
				failed <- fmt.Errorf("%s: %w", p.section, err)
			}
		})
	}
	err := g.announce()
	g.tellForgotten()
	if err == nil && ctx.Err() == nil {
		event := g.log.WithField("gateway", g.name)
		for name, at := range g.Listening().byKey() {
			event = event.WithField(name, at)
		}
		event.Info("serving")
		g.warnOfWeakKeys()
		g.noteFile()
		select {
		case <-ctx.Done():
		case err = <-failed:
		}
		g.log.Debug("stopping")
	}
	deadline, cancel := context.WithTimeout(context.Background(), g.cfg.ShutdownTimeout)
	defer cancel()
	early, cancelEarly := context.WithTimeout(deadline, g.cfg.ShutdownTimeout*4/5) // leaves time to say goodbye
	defer cancelEarly()
	g.quiesce(deadline)
	g.forgetHalfConfirmed()
	draining, cancelDrain := context.WithTimeout(deadline, g.cfg.ShutdownTimeout/2) // what waits for a broker that is away never ends
	g.hub.Drain(draining)
	cancelDrain()
	if e := g.hub.PublishStatus("offline"); e != nil {
		g.log.WithError(e).Warn("status not published")
	}
	endLife()
	finished := wait(early, &parts)
	endBetween() // the other gateways have the MQTT sessions by now
	finished = wait(deadline, &between) && finished
	endHub()
	hub.Wait()
	g.retract()
	if !finished {
		g.log.Warn("some connections did not end within shutdown_timeout")
	} else if e := g.past.KeepEnd(); e != nil {
		g.log.WithError(e).Warn("where the history ended was not written")
	}
	return errors.Join(err, g.closeStores())
}

// ready lists the parts that can be served: all, unless Listen failed.
func (g *Gateway) ready() []*part {
	return slices.DeleteFunc(slices.Clone(g.parts), func(p *part) bool { return !p.ready() })
}

// quiesce makes every part refuse new requests, and waits for the running ones.
func (g *Gateway) quiesce(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, g.cfg.ShutdownTimeout/2)
	defer cancel()
	var all sync.WaitGroup
	for _, p := range g.ready() {
		all.Go(func() { p.server.Quiesce(ctx) })
	}
	all.Wait()
}

// wait reports whether a group ended before ctx.
func wait(ctx context.Context, group *sync.WaitGroup) bool {
	done := make(chan struct{})
	go func() { // ends with the group
		group.Wait()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

// infoEvery is the time between two updates of the info topic.
const infoEvery = time.Minute

// describe keeps the retained info topic up to date.
func (g *Gateway) describe(ctx context.Context) {
	t := ticker.New(infoEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			t.Next()
			if err := g.publishInfo(); err != nil {
				g.log.WithError(err).Warn("info not published")
			}
		}
	}
}
