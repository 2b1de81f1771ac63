package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"watchtower/bridge"
)

// readsOrWrites is what is forbidden if the broker does not tell which.
const readsOrWrites = "read or write"

// forbidden is what a broker's access rules do not let the gateway do.
type forbidden struct {
	user, does, topic string
	code              byte // of the broker's answer; 0: it gave none
}

func (f *forbidden) Error() string {
	who := "the gateway"
	if f.user != "" {
		who = fmt.Sprintf("the gateway (user %q)", f.user)
	}
	what := fmt.Sprintf("the broker's access rules do not let %s %s %s", who, f.does, bridge.Shorten(f.topic))
	switch {
	case f.code != 0:
		what += fmt.Sprintf(" (code 0x%02x)", f.code)
	case f.does == readsOrWrites:
		what = fmt.Sprintf("%s gets no word of its own back from the broker within %s: the broker's access rules do not let it %s %s, or the broker is far behind", who, echoFor, f.does, bridge.Shorten(f.topic))
	}
	return what + ". It needs to read and write everything: in the file of mosquitto's acl_file that is \"topic readwrite #\" below its user"
}

// rights are what the gateway needs to be let do, as far as that can be tried without disturbing anybody.
type rights struct {
	login     login
	base      string
	gateway   string
	discovery string // the prefix of Home Assistant's topics; empty: it is not tried, since Home Assistant would hear it
}

// echoFor is how long the broker may take to give the gateway a word of its own.
const echoFor = 5 * time.Second

// try says a word on a topic of each kind, and hears it. An error that is no *forbidden says
// nothing about rights.
func (r rights) try(ctx context.Context, known byte) error {
	l := r.login
	l.client, l.clean, l.will = "watchtower-probe-"+rand.Text()[:8], true, nil
	c, err := dial(ctx, l, known)
	if err == nil && c.version == version3 { // by the bridge bit it would not hear itself
		_ = c.Close()
		c, err = connect(ctx, l, version3)
	}
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	defer c.until(ctx)()
	channel := r.base + "/channels/" + probeChannel
	words := map[string]string{}
	topics := []string{
		channel + "/broadcast/" + probeSender, channel + "/send/" + probeSender + "/1",
		r.base + "/gateways/" + r.gateway + "/" + l.client, r.base + "/members/" + probeChannel + "/" + l.client,
		r.base + "/homeassistant/" + r.gateway + "/" + l.client,
	}
	for _, topic := range topics {
		if err := r.allowed("read", topic)(c.askFor(topic, 0, false)); err != nil {
			return err
		}
		words[topic] = rand.Text()
		if err := r.allowed("write", topic)(c.say(topic, words[topic])); err != nil {
			return err
		}
	}
	if r.discovery != "" { // an empty message on a topic that nobody has changes nothing
		topic := r.discovery + "/device/" + strings.ReplaceAll(l.client, "-", "_") + "/config"
		if err := r.allowed("write", topic)(c.retain(topic, "")); err != nil {
			return err
		}
	}
	return r.hear(c, topics, words)
}

// allowed turns the code of an answer into an error.
func (r rights) allowed(does, topic string) func(code byte, err error) error {
	return func(code byte, err error) error {
		if err == nil && code >= 0x80 {
			return &forbidden{r.login.user, does, topic, code}
		}
		return err
	}
}

// hear waits for the words. mosquitto lets everybody subscribe to everything, and gives a client only
// what it may read.
func (r rights) hear(c *conn, topics []string, words map[string]string) error {
	came := map[string]bool{}
	for _, m := range c.kept {
		came[string(m.Payload)] = true
	}
	until := time.Now().Add(echoFor)
	for _, topic := range topics {
		for !came[words[topic]] {
			word, err := c.message(until)
			if isTimeout(err) {
				return &forbidden{r.login.user, readsOrWrites, topic, 0}
			}
			if err != nil {
				return err
			}
			came[word] = true
		}
	}
	return nil
}

// mayAll returns an error if the broker's rules do not let the gateway do its work. What else fails the
// connection itself will find; what it may not retain for Home Assistant, denied.
func (b *Bus) mayAll(ctx context.Context) error {
	err := rights{login: b.client.login, base: b.opts.BaseTopic, gateway: b.tree.Gateway()}.try(ctx, b.client.known())
	if errors.As(err, new(*forbidden)) || errors.Is(err, ErrAway) {
		return err
	}
	return nil
}

// deniedEvery is the time after which a document that the broker refused is written again.
const deniedEvery = 5 * time.Second

// denied notes that the broker refuses a document: one for Home Assistant, or its rules were changed
// while the gateway was connected.
func (b *Bus) denied(topic string) {
	b.documents.deny(topic)
	b.log.WithField("topic", bridge.Shorten(topic)).Warn("the foreign broker refuses what the gateway retains there: see its access rules")
}

// writeDenied writes a refused document on a connection of its own, and returns why that failed.
func (b *Bus) writeDenied(ctx context.Context, topic string, payload []byte) error {
	l := b.control.login
	l.client, l.clean, l.will = "watchtower-probe-"+rand.Text()[:8], true, nil
	c, err := dial(ctx, l, b.control.known())
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	defer c.until(ctx)()
	err = rights{login: l}.allowed("write", topic)(c.retain(topic, string(payload)))
	if err == nil {
		b.log.WithField("topic", bridge.Shorten(topic)).Info("the foreign broker takes what it had refused")
	}
	return err
}
