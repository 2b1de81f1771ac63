package auth_test

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/auth"
)

// desk is a queue of passwords. The test decides when each hash ends, and its result.
type desk struct {
	*auth.Passwords
	t     *testing.T
	gate  *auth.Gate
	began chan string // passwords whose hashing begins
	done  chan bool   // whether the password is right
	all   sync.WaitGroup
}

func newDesk(t *testing.T, o auth.Options) *desk {
	g, _ := gate(o)
	d := &desk{t: t, gate: g, Passwords: auth.NewPasswords(g), began: make(chan string), done: make(chan bool)}
	d.HashBy(func(_, password []byte) bool { d.began <- string(password); return <-d.done })
	return d
}

func at(address string) auth.Caller {
	return auth.Caller{Via: viaMQTT, At: netip.MustParseAddr(address)}
}

// give checks a password in a goroutine. The channel gets the verdict.
func (d *desk) give(ctx context.Context, from, password string) <-chan auth.Verdict {
	became := make(chan auth.Verdict, 1)
	d.all.Go(func() { became <- d.Check(ctx, at(from), "user", []byte("hash"), []byte(password)) })
	return became
}

// fill lets as many passwords as possible be hashed, from addresses that no test uses.
func (d *desk) fill(ctx context.Context) {
	for i := range auth.Hashing {
		d.give(ctx, fmt.Sprintf("203.0.113.%d", i+1), fmt.Sprint("first ", i))
		<-d.began
	}
}

// waits gives a password, and returns once it is in the queue.
func (d *desk) waits(ctx context.Context, from, password string) <-chan auth.Verdict {
	n := d.Waiting()
	became := d.give(ctx, from, password)
	require.Eventually(d.t, func() bool { return d.Waiting() == n+1 }, 10*time.Second, time.Millisecond)
	return became
}

// next ends the hashing of one password, and returns the next one that is hashed.
func (d *desk) next(right bool) string {
	d.done <- right
	return <-d.began
}

func TestWhoFailedWaitsBehind(t *testing.T) {
	d := newDesk(t, auth.Options{Limits: limits(0, time.Hour)})
	ctx := context.Background()
	d.gate.Wrong(at("192.0.2.1"), auth.WrongKey)
	d.gate.Right(at("192.0.2.9"))
	d.fill(ctx)
	d.waits(ctx, "192.0.2.1", "of one who failed")
	d.waits(ctx, "198.51.100.1", "of one who did not")
	d.waits(ctx, "192.0.2.9", "of one who is known")
	assert.Equal(t, "of one who is known", d.next(false))
	assert.Equal(t, "of one who did not", d.next(false))
	assert.Equal(t, "of one who failed", d.next(false))
	for range auth.Hashing {
		d.done <- false
	}
	d.all.Wait()
}

// Among addresses that never failed, those whose neighbours did not fail go first.
func TestNeighboursOfThoseWhoFailedWaitBehind(t *testing.T) {
	d := newDesk(t, auth.Options{Limits: limits(0, time.Hour)})
	ctx := context.Background()
	d.fill(ctx)
	for i := range 8 {
		d.waits(ctx, fmt.Sprintf("192.0.2.%d", i+1), fmt.Sprint("next door ", i))
	}
	assert.Contains(t, d.next(false), "next door")
	assert.Contains(t, d.next(false), "next door") // the first of them is wrong now
	d.next(false)                                  // and one of them, at least, is counted
	d.waits(ctx, "198.51.100.1", "far")
	d.waits(ctx, "2001:db8::1", "elsewhere")
	assert.ElementsMatch(t, []string{"far", "elsewhere"}, []string{d.next(false), d.next(false)})
	for range 5 {
		assert.Contains(t, d.next(false), "next door")
	}
	for range auth.Hashing {
		d.done <- false
	}
	d.all.Wait()
}

func TestAFullQueueIsNotAWrongPassword(t *testing.T) {
	d := newDesk(t, auth.Options{Limits: limits(0, time.Hour)})
	ctx, cancel := context.WithCancel(context.Background())
	d.fill(ctx)
	var last <-chan auth.Verdict
	for i := range auth.WaitingMost {
		from := fmt.Sprintf("10.%d.%d.1", i/250, i%250)
		if i == 0 {
			d.gate.Wrong(at(from), auth.WrongKey)
		}
		became := d.give(ctx, from, fmt.Sprint(i))
		if i == 0 {
			last = became
		}
	}
	require.Eventually(t, func() bool { return d.Waiting() == auth.WaitingMost }, 10*time.Second, time.Millisecond)
	better := d.give(ctx, "192.0.2.1", "better")
	assert.Equal(t, auth.Full, <-last, "who failed makes room")
	d.gate.Wrong(at("192.0.2.2"), auth.WrongKey)
	assert.Equal(t, auth.Full, <-d.give(ctx, "192.0.2.2", "no better"))
	cancel() // ends all waits
	assert.Equal(t, auth.Full, <-better)
	assert.Zero(t, d.gate.Refused(viaMQTT, auth.WrongPassword))
	for range auth.Hashing {
		d.done <- false
	}
	d.all.Wait()
	assert.Zero(t, d.Waiting())
}

func TestAnAddressHasNoMoreInTheQueueThanTries(t *testing.T) {
	d := newDesk(t, auth.Options{Limits: limits(3, time.Hour)})
	ctx := context.Background()
	d.fill(ctx)
	for i := range 3 {
		d.waits(ctx, "192.0.2.1", fmt.Sprint(i))
	}
	assert.Equal(t, auth.Full, <-d.give(ctx, "192.0.2.1", "right"))
	for range 3 {
		d.next(false)
	}
	assert.Equal(t, auth.Full, <-d.give(ctx, "192.0.2.1", "right"))
	for range auth.Hashing {
		d.done <- false
	}
	d.all.Wait()
	assert.Equal(t, auth.Later, d.Check(ctx, at("192.0.2.1"), "user", []byte("hash"), []byte("right")))
}

// A house whose devices come back at once has its password hashed once.
func TestTheSamePasswordIsHashedOnce(t *testing.T) {
	d := newDesk(t, auth.Options{Limits: limits(0, 0)})
	var hashed atomic.Int64
	d.HashBy(func(hash, password []byte) bool {
		if string(password) == "right" {
			hashed.Add(1)
			return string(hash) == "hash"
		}
		d.began <- string(password)
		return <-d.done
	})
	ctx := context.Background()
	d.fill(ctx)
	var devices []<-chan auth.Verdict
	for i := range 50 {
		devices = append(devices, d.waits(ctx, fmt.Sprintf("192.0.2.%d", i+1), "right"))
	}
	d.done <- false
	for _, became := range devices {
		assert.Equal(t, auth.Right, <-became)
	}
	assert.Equal(t, auth.Right, <-d.give(ctx, "192.0.2.99", "right"))
	assert.EqualValues(t, 1, hashed.Load())
	d.done <- false
	d.all.Wait()
	// Another hash: the password has changed.
	assert.Equal(t, auth.Wrong, d.Check(ctx, at("192.0.2.1"), "user", []byte("new"), []byte("right")))
}
