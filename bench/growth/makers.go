package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"watchtower/bench"
	"watchtower/bench/target"
)

// maker is one client that makes many things, such as subscriptions.
type maker struct {
	name string
	make func(ctx context.Context, g *target.Gateway) error
}

var makers = []maker{
	{"one client speaks on 30,000 channels", speak},
	{"one client subscribes to 10,000 filters", subscribe},
	{"one client registers 20,000 names", register},
}

// disturb measures other clients on a gateway of their own before, while and after a maker
// works, and returns what got worse. While the maker works, both share the processors: then
// no message may be lost or late, but the cost of a delivery is not known.
func disturb(ctx context.Context, program string, m maker) (worse []string, err error) {
	g, err := target.Start(ctx, program, arguments...)
	if err != nil {
		return nil, err
	}
	defer g.Stop()
	others := bench.Options{Publish: bench.MQTT, Receive: bench.UDP, Publishers: 1, Receivers: 10, Rate: 1000}
	measure := func() (f figures, err error) {
		best := figures{1e9, 1e9}
		for range 3 {
			if f, err = load(ctx, g, others); err != nil {
				return f, err
			}
			best = figures{min(best.cost, f.cost), min(best.p99, f.p99)}
		}
		return best, nil
	}
	before, err := measure()
	if err != nil {
		return nil, err
	}
	var making sync.WaitGroup
	var failed error
	making.Go(func() { failed = m.make(ctx, g) })
	while, err := load(ctx, g, others)
	making.Wait()
	if err := errors.Join(err, failed); err != nil {
		return nil, err
	}
	after, err := measure()
	if err != nil {
		return nil, err
	}
	fmt.Printf("%-40s cost after: %.2f ×; p99 %.1f ms, while %.1f ms, after %.1f ms\n", m.name,
		after.cost/before.cost, before.p99/1000, while.p99/1000, after.p99/1000)
	if after.cost > mostOthers*before.cost {
		worse = append(worse, m.name+": processor time")
	}
	for when, p99 := range map[string]float64{"while": while.p99, "after": after.p99} {
		if p99 > noise && p99 > mostOthers*before.p99 {
			worse = append(worse, m.name+": p99 "+when)
		}
	}
	return worse, nil
}

func connect(g *target.Gateway) (paho.Client, error) {
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + g.MQTT).SetClientID("maker").
		SetUsername("x").SetPassword(target.SecretKey).SetAutoReconnect(false))
	return c, done(c.Connect())
}

func done(t paho.Token) error {
	if !t.WaitTimeout(time.Minute) {
		return errors.New("no answer for a minute")
	}
	return t.Error()
}

func speak(_ context.Context, g *target.Gateway) error {
	c, err := connect(g)
	if err != nil {
		return err
	}
	defer c.Disconnect(100)
	for n := range 30_000 {
		if err := done(c.Publish(fmt.Sprintf("watchtower/channels/%d/broadcast", n+1), 0, false, "x")); err != nil {
			return err
		}
	}
	return nil
}

// subscribe stays subscribed until ctx ends: the others are measured beside it.
func subscribe(ctx context.Context, g *target.Gateway) error {
	c, err := connect(g)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { c.Disconnect(100) })
	for n := range 100 {
		filters := map[string]byte{}
		for i := range 100 {
			filters[fmt.Sprintf("watchtower/channels/%d/broadcast/+", 100*n+i+1)] = 0
		}
		if err := done(c.SubscribeMultiple(filters, nil)); err != nil {
			return err
		}
	}
	return nil
}

func register(ctx context.Context, g *target.Gateway) error {
	for n := range 20_000 {
		body := fmt.Sprintf(`{"secret_key":%q,"name":"maker-%d"}`, target.SecretKey, n)
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+g.HTTP+"/register", bytes.NewBufferString(body))
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return err
		}
		if err := resp.Body.Close(); err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("registering: %s", resp.Status)
		}
	}
	return nil
}
