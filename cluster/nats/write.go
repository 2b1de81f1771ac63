package nats

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"watchtower/bridge"
)

// writersMost is how many records are written at a time.
const writersMost = 32

// writePatience is how long one write may take.
const writePatience = 2 * time.Second

// write writes all that is pending. What fails stays pending.
func (d *Directory) write(ctx context.Context, kv jetstream.KeyValue, hub *bridge.Hub) {
	d.mu.Lock()
	if !d.synced {
		d.mu.Unlock()
		return
	}
	ids := make([]bridge.SenderID, 0, len(d.pending))
	for id := range d.pending {
		ids = append(ids, id)
	}
	d.mu.Unlock()
	room := make(chan struct{}, writersMost)
	var all sync.WaitGroup
	for _, id := range ids {
		room <- struct{}{}
		all.Go(func() {
			d.writeOne(ctx, kv, hub, id)
			<-room
		})
	}
	all.Wait()
}

// writeOne writes what is pending of a sender.
func (d *Directory) writeOne(ctx context.Context, kv jetstream.KeyValue, hub *bridge.Hub, id bridge.SenderID) {
	d.mu.Lock()
	c := d.pending[id]
	if c == nil {
		d.mu.Unlock()
		return
	}
	record, was := c.record, d.known[id]
	d.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	var now shared
	var merged *bridge.Record
	var err error
	if record == nil {
		err = d.remove(ctx, kv, was, id)
	} else {
		now, merged, err = d.put(ctx, kv, was, record)
	}
	d.wrote(c, record, id, now, err)
	switch {
	case errors.Is(err, errTaken):
		hub.Peers().Deleted(id)
	case merged != nil && err == nil:
		hub.Peers().Learned(*merged)
	}
}

// wrote notes how a write went.
func (d *Directory) wrote(c *change, record *bridge.Record, id bridge.SenderID, now shared, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case errors.Is(err, errTaken):
		delete(d.pending, id)
		c.answer(err)
		return
	case err != nil:
		return // and again soon
	case record == nil:
		delete(d.known, id)
	case now.revision > d.known[id].revision:
		d.known[id] = now
	}
	if c.record == record { // else it has changed meanwhile
		delete(d.pending, id)
		c.answer(nil)
	}
}

func (d *Directory) remove(ctx context.Context, kv jetstream.KeyValue, was shared, id bridge.SenderID) error {
	if was.key == "" {
		return nil
	}
	err := kv.Delete(ctx, was.key, jetstream.LastRevision(was.revision))
	if err == nil {
		err = d.transport.purge(ctx, kv, idKey(id))
	}
	return conflict(err)
}

// purge deletes a key without a trace. A key that gateways watch leaves one, so that those who are
// away learn of it.
func (t *Transport) purge(ctx context.Context, kv jetstream.KeyValue, key string) error {
	js, err := jetstream.New(t.conn)
	if err != nil {
		return err
	}
	stream, err := js.Stream(ctx, "KV_"+kv.Bucket())
	if err != nil {
		return err
	}
	return stream.Purge(ctx, jetstream.WithPurgeSubject("$KV."+kv.Bucket()+"."+key))
}

// Traces of what was deleted are kept for tracesKept: a gateway that was away for longer may bring
// such a name back, until it expires.
const (
	tracesKept  = 30 * 24 * time.Hour
	tracesEvery = 24 * time.Hour
)

// dropTraces deletes old traces once a day, until ctx ends.
func (d *Directory) dropTraces(ctx context.Context, kv jetstream.KeyValue) {
	for wait(ctx, tracesEvery) {
		if err := kv.PurgeDeletes(ctx, jetstream.DeleteMarkersOlderThan(tracesKept)); err != nil {
			d.log.WithError(err).Debug("old traces of deleted senders remain")
		}
	}
}

// put writes a record. It claims the id and the name of one that is new, and merges with what
// another gateway has written since: then it returns both in one.
func (d *Directory) put(ctx context.Context, kv jetstream.KeyValue, was shared, r *bridge.Record) (shared, *bridge.Record, error) {
	key, text := keyOf(r), d.text(r)
	var revision uint64
	var err error
	switch {
	case was.key == key:
		revision, err = kv.Update(ctx, key, text, was.revision)
	case r.Name == "":
		revision, err = kv.Create(ctx, key, text)
	default:
		if err := claim(ctx, kv, r); err != nil {
			return shared{}, nil, err
		}
		if revision, err = kv.Create(ctx, key, text); err == nil && was.key != "" { // it was renamed
			err = kv.Delete(ctx, was.key)
		}
	}
	if errors.Is(conflict(err), errChanged) {
		return d.merge(ctx, kv, key, r)
	}
	return shared{key, revision, sha256.Sum256(text)}, nil, err
}

// claim makes the id that of the name, unless it is another name's.
func claim(ctx context.Context, kv jetstream.KeyValue, r *bridge.Record) error {
	_, err := kv.Create(ctx, idKey(r.ID), []byte(r.Name))
	if !errors.Is(conflict(err), errChanged) {
		return err
	}
	e, err := kv.Get(ctx, idKey(r.ID))
	if err == nil && string(e.Value()) != r.Name {
		return errTaken
	}
	return err
}

var errChanged = errors.New("another gateway has written it since")

// conflict tells a write that came too late from one that failed.
func conflict(err error) error {
	var refused *jetstream.APIError
	if errors.Is(err, jetstream.ErrKeyExists) || errors.As(err, &refused) && refused.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence {
		return errChanged
	}
	return err
}

// merge writes a record that another gateway has written since. A name is whose id was first.
// The token is the newest, and what was true once stays true.
func (d *Directory) merge(ctx context.Context, kv jetstream.KeyValue, key string, r *bridge.Record) (shared, *bridge.Record, error) {
	e, err := kv.Get(ctx, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) { // it was deleted
		text := d.text(r)
		revision, err := kv.Create(ctx, key, text)
		return shared{key, revision, sha256.Sum256(text)}, nil, err
	}
	if err != nil {
		return shared{}, nil, err
	}
	var theirs bridge.Record
	if err := json.Unmarshal(e.Value(), &theirs); err != nil {
		return shared{}, nil, err
	}
	if theirs.ID != r.ID {
		return shared{}, nil, errTaken
	}
	both := *r
	both.Registered = r.Registered || theirs.Registered
	both.Held = r.Held || theirs.Held
	both.Protected = r.Protected || theirs.Protected
	both.Approved = r.Approved || theirs.Approved
	both.Own = r.Own || theirs.Own
	both.Seen = max(r.Seen, theirs.Seen)
	if len(r.Token) == 0 {
		both.Token = theirs.Token
	}
	text := d.text(&both)
	revision, err := kv.Update(ctx, key, text, e.Revision())
	return shared{key, revision, sha256.Sum256(text)}, &both, err
}
