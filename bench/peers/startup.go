package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// startUp is the measurement of the time for a start.
const startUp = "start to the first message"

const (
	remembered = 10_000 // senders
	registrars = 64     // that register them at a time
)

// prepare makes a data directory in which a gateway remembers many senders.
func (b *bench) prepare(ctx context.Context) error {
	if b.prepared != "" {
		return nil
	}
	dir, err := os.MkdirTemp(b.dir, "remembered")
	if err != nil {
		return err
	}
	p, err := b.start(ctx, gatewayServer, dir)
	if err != nil {
		return err
	}
	defer p.end()
	client := &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: registrars}}
	defer client.CloseIdleConnections()
	var working sync.WaitGroup
	errs := make([]error, registrars)
	for w := range registrars {
		working.Go(func() {
			for i := w; i < remembered && errs[w] == nil && ctx.Err() == nil; i += registrars {
				errs[w] = register(client, p.http, fmt.Sprintf("sender-%05d", i))
			}
		})
	}
	working.Wait()
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return err
	}
	b.prepared = dir
	return nil
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

// startTime measures the time from before the start of the process until a publish at QoS 1
// is acknowledged.
func (b *bench) startTime(ctx context.Context) sample {
	if err := b.prepare(ctx); err != nil {
		return sample{err: err}
	}
	begin := time.Now()
	p, err := b.launch(gatewayServer, b.prepared)
	if err != nil {
		return sample{err: err}
	}
	defer p.end()
	limit := time.After(patience)
	for {
		if accepted(p.mqtt) == nil {
			return sample{startMillis: time.Since(begin).Seconds() * 1000}
		}
		select {
		case <-time.After(time.Millisecond):
		case <-limit:
			return sample{err: errors.New("no message was accepted")}
		case <-ctx.Done():
			return sample{err: ctx.Err()}
		}
	}
}

// accepted publishes a message at QoS 1 over MQTT 3.1.1, and reports whether it
// was acknowledged.
func accepted(address string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	text := func(s string) string { return "\x00" + string(rune(len(s))) + s }
	connect := text("MQTT") + "\x04\xc2\x00\x00" + text("peers:1") + text("peers") + text(secretKey)
	publish := text("watchtower/channels/5/broadcast") + "\x00\x01hello"
	for _, exchange := range []struct{ say, hear string }{
		{"\x10" + string(rune(len(connect))) + connect, "\x20\x02\x00\x00"},
		{"\x32" + string(rune(len(publish))) + publish, "\x40\x02\x00\x01"},
	} {
		if _, err := io.WriteString(c, exchange.say); err != nil {
			return err
		}
		answer := make([]byte, 4)
		if _, err := io.ReadFull(c, answer); err != nil {
			return err
		}
		if !bytes.Equal(answer, []byte(exchange.hear)) {
			return fmt.Errorf("the gateway answers %x", answer)
		}
	}
	return nil
}
