package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"watchtower/bench/target"
	"watchtower/device"
)

// latencies are the 99th percentiles of the time that a message takes from a device to
// itself.
type latencies struct{ udp, mqtt time.Duration }

// pace is the time between two messages of a device.
const pace = 10 * time.Millisecond

// measure lets a device over UDP and one over MQTT send messages to themselves for a while.
// Both register first: that must work under attack too.
func measure(ctx context.Context, g *target.Gateway, d time.Duration) (l latencies, err error) {
	ctx, cancel := context.WithTimeout(ctx, d+20*time.Second)
	defer cancel()
	udp := make(chan result, 1)
	go func() { udp <- measureUDP(ctx, g, d) }()
	mqtt := measureMQTT(ctx, g, d)
	r := <-udp
	return latencies{r.p99, mqtt.p99}, errors.Join(r.err, mqtt.err)
}

type result struct {
	p99 time.Duration
	err error
}

func measureUDP(ctx context.Context, g *target.Gateway, d time.Duration) result {
	c, err := device.Dial(ctx, "udp", g.Wire, device.Options{Secret: target.SecretKey, Name: "measured-udp"})
	if err != nil {
		return result{err: fmt.Errorf("a device cannot register over UDP: %w", err)}
	}
	defer func() { _ = c.Close(ctx) }()
	if err := c.Join(ctx, 77); err != nil {
		return result{err: fmt.Errorf("a device cannot join over UDP: %w", err)}
	}
	heard := make(chan []byte, 1)
	go func() { // ends with the device
		for m := range c.Messages() {
			heard <- m.Data
		}
		close(heard)
	}()
	return talk(ctx, d, heard, func(b []byte) error { return c.Tell(ctx, device.Opaque, b, 77) })
}

func measureMQTT(ctx context.Context, g *target.Gateway, d time.Duration) result {
	heard := make(chan []byte, 1)
	o := paho.NewClientOptions().AddBroker("tcp://" + g.MQTT).SetClientID("measured-mqtt").SetUsername("x").SetPassword(target.SecretKey)
	c := paho.NewClient(o.SetAutoReconnect(false).SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { heard <- m.Payload() }))
	if err := done(c.Connect()); err != nil {
		return result{err: fmt.Errorf("a device cannot connect over MQTT: %w", err)}
	}
	defer c.Disconnect(100)
	if err := done(c.Subscribe("watchtower/channels/78/broadcast/+", 0, nil)); err != nil {
		return result{err: fmt.Errorf("a device cannot join over MQTT: %w", err)}
	}
	return talk(ctx, d, heard, func(b []byte) error { return done(c.Publish("watchtower/channels/78/broadcast", 0, false, b)) })
}

// talk sends the time and waits until it comes back. A lost message counts as a second.
func talk(ctx context.Context, d time.Duration, heard <-chan []byte, say func([]byte) error) result {
	var all []time.Duration
	begun := time.Now()
	t := time.NewTicker(pace)
	defer t.Stop()
	for n := uint64(1); time.Since(begun) < d; n++ {
		b := binary.LittleEndian.AppendUint64(nil, n)
		said := time.Now()
		if err := say(b); err != nil {
			return result{err: err}
		}
		all = append(all, wait(ctx, heard, n, said))
		select {
		case <-t.C:
		case <-ctx.Done():
			return result{err: ctx.Err()}
		}
	}
	return result{p99: percentile99(all)}
}

func wait(ctx context.Context, heard <-chan []byte, n uint64, said time.Time) time.Duration {
	lost := time.NewTimer(time.Second)
	defer lost.Stop()
	for {
		select {
		case b, ok := <-heard:
			if !ok || len(b) == 8 && binary.LittleEndian.Uint64(b) == n {
				return time.Since(said)
			}
		case <-lost.C:
			return time.Second
		case <-ctx.Done():
			return time.Second
		}
	}
}

// done waits until paho has finished, at most 15 seconds.
func done(t paho.Token) error {
	if !t.WaitTimeout(15 * time.Second) {
		return errors.New("no answer for 15 s")
	}
	return t.Error()
}
