package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// Measurements of the time for a start, of which the second has more on the disk.
const (
	startUp   = "start to the first message"
	startFull = "start to the first client"
)

// byItself are the measurements that watchtower bench does not make.
var byItself = []string{startUp, startFull, connects}

const (
	remembered = 10_000 // senders
	registrars = 64     // that register them at a time
)

// prepare makes a data directory for a start, once for each server and kind.
func (b *bench) prepare(ctx context.Context, m measurement) (dir string, err error) {
	if dir := b.prepared[m.key()]; dir != "" {
		return dir, nil
	}
	if dir, err = os.MkdirTemp(b.dir, "remembered"); err != nil {
		return "", err
	}
	p, err := b.start(ctx, m.server, dir)
	if err != nil {
		return "", err
	}
	if m.args == startFull {
		err = p.fill(ctx)
	} else {
		err = p.register(ctx, remembered)
	}
	p.end()
	if err == nil && !p.cmd.ProcessState.Success() {
		err = fmt.Errorf("%s ends with %s", m.server, p.cmd.ProcessState)
	}
	if err == nil {
		b.prepared[m.key()] = dir
	}
	return dir, err
}

func senderName(i int) string { return fmt.Sprintf("sender-%05d", i) }

// register registers the first n names over HTTP.
func (p *process) register(ctx context.Context, n int) error {
	client := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: registrars}}
	defer client.CloseIdleConnections()
	return together(ctx, registrars, n, func(i int) error { return register(client, p.http, senderName(i)) })
}

func register(client *http.Client, at, name string) error {
	body := fmt.Sprintf(`{"secret_key":%q,"name":%q}`, secretKey, name)
	res, err := client.Post("http://"+at+"/register", "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("registering: %s", answer)
	}
	return err
}

// startTime measures the time from before the start of the process until it accepts the first
// message or the first client.
func (b *bench) startTime(ctx context.Context, m measurement) sample {
	dir, err := b.prepare(ctx, m)
	if err != nil {
		return sample{err: err}
	}
	accepted, check := (*process).acceptsMessage, func(*process) error { return nil }
	if m.args == startFull {
		accepted, check = (*process).acceptsClient, (*process).isFull
	}
	begin := time.Now()
	p, err := b.launch(m.server, dir)
	if err != nil {
		return sample{err: err}
	}
	defer p.end()
	limit := time.After(patience)
	for {
		if err = accepted(p); err == nil {
			millis := time.Since(begin).Seconds() * 1000
			return sample{startMillis: millis, err: check(p)}
		}
		select {
		case <-time.After(time.Millisecond):
		case <-limit:
			return sample{err: fmt.Errorf("nothing was accepted: %w", err)}
		case <-ctx.Done():
			return sample{err: ctx.Err()}
		}
	}
}

// acceptsMessage publishes a message at QoS 1, and waits for PUBACK (MQTT 3.1.1, section 3.4).
func (p *process) acceptsMessage() error {
	c, _, err := p.connect("peers:1", true)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.say(0x32, field16("watchtower/channels/5/broadcast")+"\x00\x01hello"); err != nil {
		return err
	}
	return c.expect(packet(0x40, "\x00\x01"))
}
