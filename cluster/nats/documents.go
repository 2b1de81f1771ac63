package nats

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// Documents are bridge.Documents: the keys with a prefix in the bucket of a space's senders.
type Documents struct {
	transport *Transport
	prefix    string
	owner     bridge.DocumentOwner
	log       *logrus.Logger

	mu      sync.Mutex
	known   map[string]entry // what the space has, by key without the prefix
	pending map[string]*pending
	wake    chan struct{}
}

// pending is a document that is to be written.
type pending struct {
	again bool          // it was touched once more meanwhile
	done  chan struct{} // closed when it is written
}

// NewDocuments returns the documents with a prefix, which ends with a dot.
func NewDocuments(t *Transport, prefix string, owner bridge.DocumentOwner, log *logrus.Logger) *Documents {
	return &Documents{transport: t, prefix: prefix, owner: owner, log: log, known: map[string]entry{}, pending: map[string]*pending{}, wake: make(chan struct{}, 1)}
}

// Touch is bridge.Documents'.
func (d *Documents) Touch(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if p := d.pending[key]; p != nil {
		p.again = true
	} else {
		d.pending[key] = &pending{done: make(chan struct{})}
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Wait is bridge.Documents'.
func (d *Documents) Wait(ctx context.Context, key string) error {
	d.mu.Lock()
	p := d.pending[key]
	d.mu.Unlock()
	if p == nil {
		return nil
	}
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Serve tells the owner what others write, and writes what is pending, until ctx ends.
func (d *Documents) Serve(ctx context.Context) {
	for ctx.Err() == nil {
		opening, end := context.WithTimeout(ctx, tryPatience)
		kv, err := d.transport.bucket(opening)
		end()
		if err == nil {
			err = d.follow(ctx, kv)
		}
		if ctx.Err() == nil {
			d.log.WithError(err).Debug("what the gateways share besides senders cannot be read now")
			wait(ctx, retry)
		}
	}
}

func (d *Documents) follow(ctx context.Context, kv jetstream.KeyValue) error {
	watch, err := kv.Watch(ctx, d.prefix+">")
	if err != nil {
		return err
	}
	defer watch.Stop() //nolint:errcheck // the connection may be gone
	d.mu.Lock()
	d.known = map[string]entry{} // the servers may have begun anew
	d.mu.Unlock()
	again := time.NewTicker(retry)
	defer again.Stop()
	ready := false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, open := <-watch.Updates():
			switch {
			case !open:
				return errNoServer
			case e == nil:
				ready = true
				d.owner.Ready(d.has)
			default:
				d.note(strings.TrimPrefix(e.Key(), d.prefix), e)
			}
		case <-d.wake:
		case <-again.C:
		}
		if ready && len(watch.Updates()) == 0 {
			d.write(ctx, kv)
		}
	}
}

func (d *Documents) has(key string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known[key].value != nil
}

// note takes what the bucket has, unless something newer is known.
func (d *Documents) note(key string, e jetstream.KeyValueEntry) {
	value := e.Value()
	if e.Operation() != jetstream.KeyValuePut {
		value = nil
	}
	if d.keep(key, entry{value: value, revision: e.Revision()}) {
		d.owner.Heard(key, value)
	}
}

func (d *Documents) keep(key string, e entry) (fresh bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if e.revision <= d.known[key].revision {
		return false
	}
	d.known[key] = e
	return true
}

// write writes what is pending. What fails stays pending.
func (d *Documents) write(ctx context.Context, kv jetstream.KeyValue) {
	d.mu.Lock()
	keys := make([]string, 0, len(d.pending))
	for key, p := range d.pending {
		keys, p.again = append(keys, key), false
	}
	d.mu.Unlock()
	for _, key := range keys {
		err := d.writeOne(ctx, kv, key)
		if err != nil && !errors.Is(err, errChanged) {
			return // and again soon
		}
		d.mu.Lock()
		if p := d.pending[key]; err == nil && !p.again {
			close(p.done)
			delete(d.pending, key)
		}
		d.mu.Unlock()
	}
}

func (d *Documents) writeOne(ctx context.Context, kv jetstream.KeyValue, key string) error {
	d.mu.Lock()
	was := d.known[key]
	d.mu.Unlock()
	value := d.owner.Wanted(key, was.value)
	if bytes.Equal(value, was.value) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	var revision uint64
	var err error
	if value == nil {
		err = kv.Delete(ctx, d.prefix+key, jetstream.LastRevision(was.revision))
	} else {
		revision, err = kv.Update(ctx, d.prefix+key, value, was.revision)
	}
	switch err = conflict(err); {
	case errors.Is(err, errChanged):
		if e, err := kv.Get(ctx, d.prefix+key); err == nil {
			d.note(key, e)
		}
	case err == nil && value != nil && d.keep(key, entry{value: value, revision: revision}):
		d.owner.Heard(key, value)
	}
	return err
}
