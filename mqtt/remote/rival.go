package remote

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ErrRival says that another gateway of the same name is at the broker, and was there first.
var ErrRival = errors.New("another gateway of the name is at the broker, and was there first: each gateway needs its own gateway.name")

// greetEvery is the least time between two answers.
const greetEvery = 100 * time.Millisecond

// rivalFor is how long a rival has to answer.
const rivalFor = time.Second

// A gateway asks on <its topics>/hello with a word, and one of the same name answers on
// <its topics>/here with that word, with when it started, and with a MAC of both.
func (b *Bus) seal(word, run string) string {
	mac := hmac.New(sha256.New, []byte("watchtower remote rival "+b.opts.Key))
	mac.Write([]byte(b.about + " " + word + " " + run))
	return hex.EncodeToString(mac.Sum(nil))
}

// greeted answers another gateway of the same name.
func (b *Bus) greeted(m *received) {
	word := string(m.payload)
	now := time.Now().UnixNano()
	if last := b.greetedAt.Load(); len(word) > 64 || m.retain || now-last < int64(greetEvery) || !b.greetedAt.CompareAndSwap(last, now) {
		return
	}
	run := strconv.FormatInt(b.run, 10)
	b.client.publish(&publish{topic: []byte(b.about + "/here"), payload: []byte(word + " " + run + " " + b.seal(word, run)), qos: 1}, b.client.said())
}

// rival looks, on a connection of its own, for another gateway of the same name that was there
// first. It reports whether there is one that came later, which ends when it finds out.
func (b *Bus) rival(ctx context.Context) (later bool, err error) {
	l := b.client.login
	l.client, l.clean, l.will = "watchtower-hello-"+rand.Text()[:8], true, nil
	c, err := dial(ctx, l, b.client.known())
	if err != nil {
		return false, err
	}
	defer func() { _ = c.Close() }()
	defer c.until(ctx)()
	if code, err := c.ask(b.about + "/here"); err != nil || code >= 0x80 {
		return false, errors.Join(err, fmt.Errorf("the broker does not let the gateway read %s/here: see its access rules", b.about))
	}
	word := rand.Text()
	if _, err := c.say(b.about+"/hello", word); err != nil {
		return false, err
	}
	until := time.Now().Add(rivalFor)
	for {
		m, err := c.message(until)
		switch {
		case isTimeout(err):
			return later, nil
		case err != nil:
			return later, err
		}
		answer := strings.Fields(m)
		if len(answer) != 3 || answer[0] != word || !hmac.Equal([]byte(answer[2]), []byte(b.seal(word, answer[1]))) {
			continue
		}
		run, err := strconv.ParseInt(answer[1], 10, 64)
		switch {
		case err != nil:
		case run > b.run:
			later = true
		case run < b.run:
			return false, fmt.Errorf("gateway.name: %s, since %s: %w", b.tree.Gateway(), time.Unix(0, run).Format(time.DateTime), ErrRival)
		}
	}
}
