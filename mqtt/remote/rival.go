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
// <its topics>/here with that word, for how many milliseconds it has run, when it started in Unix
// ns, and a MAC of all that.
func (b *Bus) seal(word, age, run string) string {
	mac := hmac.New(sha256.New, []byte("watchtower remote rival "+b.opts.Key))
	mac.Write([]byte(strings.Join([]string{b.about, word, age, run}, " ")))
	return hex.EncodeToString(mac.Sum(nil))
}

// ageApart is by how much the ages of two gateways have to differ before they decide who was
// first. Else it is when they started, by their clocks: one of them may be wrong.
const ageApart = time.Second

// wasFirst reports whether a gateway was there before this one, of an age.
func (b *Bus) wasFirst(theirs time.Duration, run int64, age time.Duration) bool {
	if apart := theirs - age; apart.Abs() > ageApart {
		return apart > 0
	}
	return run < b.run
}

// greeted answers another gateway of the same name.
func (b *Bus) greeted(m *received) {
	word := string(m.payload)
	now := int64(b.clock())
	if last := b.greetedAt.Load(); len(word) > 64 || m.retain || last != 0 && now-last < int64(greetEvery) || !b.greetedAt.CompareAndSwap(last, now) {
		return
	}
	age, run := strconv.FormatInt(b.clock().Milliseconds(), 10), strconv.FormatInt(b.run, 10)
	answer := strings.Join([]string{word, age, run, b.seal(word, age, run)}, " ")
	b.control.publish(&publish{topic: []byte(b.about + "/here"), payload: []byte(answer), qos: 1}, b.control.said())
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
	word, age := rand.Text(), b.clock()
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
		if len(answer) != 4 || answer[0] != word || !hmac.Equal([]byte(answer[3]), []byte(b.seal(word, answer[1], answer[2]))) {
			continue
		}
		ms, err := strconv.ParseInt(answer[1], 10, 64)
		run, failed := strconv.ParseInt(answer[2], 10, 64)
		if err != nil || failed != nil || run == b.run {
			continue
		}
		theirs := time.Duration(ms) * time.Millisecond
		if b.wasFirst(theirs, run, age) {
			return false, fmt.Errorf("gateway.name: %s, there for %s: %w", b.tree.Gateway(), theirs.Round(time.Second), ErrRival)
		}
		later = true
	}
}
