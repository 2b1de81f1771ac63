package nats

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// Directory is a bridge.Store that the gateways of a space share. What it has is on the
// gateway's own disk too. A new name is saved once the space has it; all else is written to
// the space when a server takes it, and nobody waits for that. Memberships that are kept
// (bridge.Record.Kept) stay with their gateway.
type Directory struct {
	transport *Transport
	local     bridge.Store  // on the gateway's own disk
	lasting   time.Duration // the space's Seen is that much behind, at most
	returns   bool          // the gateway was in the space before
	log       *logrus.Logger

	mu      sync.Mutex
	known   map[bridge.SenderID]shared // what the space has
	pending map[bridge.SenderID]*change
	wake    chan struct{}
	synced  bool                         // all that the space has is known
	found   map[bridge.SenderID]struct{} // until then: what was told since the watch began
	fault   error                        // why the servers took no question; nil: they did
}

// shared is what is known of a record in the space.
type shared struct {
	key      string // n.<name> or u.<id>
	revision uint64
	sum      [sha256.Size]byte
}

// change is what is to be written of a sender.
type change struct {
	record *bridge.Record // nil: it is deleted
	waits  []chan error   // of those who wait
}

// claimPatience is how long a new name waits for the space.
const claimPatience = 10 * time.Second

var (
	errTaken = fmt.Errorf("another gateway has just given this name or id away: %w", bridge.ErrNotShared)
	errLate  = fmt.Errorf("the NATS servers did not answer in time: %w", bridge.ErrNotShared)
)

// NewDirectory returns a directory whose senders expire after a time. Returns says that the
// gateway was in the space before.
func NewDirectory(t *Transport, local bridge.Store, expire time.Duration, returns bool, log *logrus.Logger) *Directory {
	return &Directory{
		transport: t, local: local, lasting: max(expire/8, time.Hour), returns: returns, log: log,
		known: map[bridge.SenderID]shared{}, pending: map[bridge.SenderID]*change{}, wake: make(chan struct{}, 1),
	}
}

// Load is bridge.Store's. What the space has comes when Serve has begun. Of a gateway that was in
// the space before, the space has the names already.
func (d *Directory) Load() ([]bridge.Record, error) {
	records, err := d.local.Load()
	if d.returns {
		for _, r := range records {
			d.known[r.ID] = shared{key: keyOf(&r)}
		}
	}
	return records, err
}

// Save is bridge.Store's. Wait waits for the space too if the name is new there.
func (d *Directory) Save(r bridge.Record) (wait func() error) {
	onDisk := d.local.Save(r)
	r.Kept = nil
	d.mu.Lock()
	defer d.mu.Unlock()
	was, known := d.known[r.ID]
	same := known && was.sum == d.sum(&r) && was.key == keyOf(&r)
	if same && d.pending[r.ID] == nil {
		return onDisk
	}
	c := d.changeLocked(r.ID)
	c.record = &r
	if r.Name == "" || known && was.key == keyOf(&r) {
		return onDisk
	}
	claimed := make(chan error, 1)
	c.waits = append(c.waits, claimed)
	return func() error {
		late := time.NewTimer(claimPatience)
		defer late.Stop()
		select {
		case err := <-claimed:
			if err != nil {
				return err
			}
		case <-late.C:
			return errLate
		}
		return onDisk()
	}
}

// Delete is bridge.Store's.
func (d *Directory) Delete(id bridge.SenderID) (wait func() error) {
	d.mu.Lock()
	if _, known := d.known[id]; known || d.pending[id] != nil {
		d.changeLocked(id).record = nil
	}
	d.mu.Unlock()
	return d.local.Delete(id)
}

func (d *Directory) changeLocked(id bridge.SenderID) *change {
	c := d.pending[id]
	if c == nil {
		c = &change{}
		d.pending[id] = c
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
	return c
}

func keyOf(r *bridge.Record) string {
	if r.Name == "" {
		return fmt.Sprintf("u.%d", r.ID)
	}
	return "n." + encoded(r.Name)
}

// encoded makes a level of a NATS subject of a name. A name has no slash and no equals sign.
func encoded(name string) string {
	b := []byte(name)
	for i, c := range b {
		switch c {
		case '.':
			b[i] = '/'
		case ':':
			b[i] = '='
		}
	}
	return string(b)
}

func idKey(id bridge.SenderID) string { return fmt.Sprintf("id.%d", id) }

// text is a record as the space has it: it is not written anew each time that a sender is seen.
func (d *Directory) text(r *bridge.Record) []byte {
	shared := *r
	shared.Seen -= shared.Seen % int64(d.lasting.Seconds())
	b, _ := json.Marshal(shared) // plain structs: cannot fail
	return b
}

func (d *Directory) sum(r *bridge.Record) [sha256.Size]byte { return sha256.Sum256(d.text(r)) }

// Serve writes what is pending, and tells the hub what others write, until ctx ends.
func (d *Directory) Serve(ctx context.Context, hub *bridge.Hub) {
	for ctx.Err() == nil {
		life, end := context.WithTimeout(ctx, tryPatience)
		kv, err := d.transport.bucket(life)
		end()
		if err == nil {
			err = d.follow(ctx, kv, hub)
		}
		if ctx.Err() == nil {
			d.setFault(err)
			d.log.WithError(err).Warn("the space's senders cannot be read now: names that are known go on")
			wait(ctx, retry)
		}
	}
	d.fail(errLate)
}

// fail ends the waiting of those who wait.
func (d *Directory) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.pending {
		c.answer(err)
	}
}

func (c *change) answer(err error) {
	for _, w := range c.waits {
		w <- err
	}
	c.waits = nil
}

// follow works with the bucket until it fails or ctx ends.
func (d *Directory) follow(ctx context.Context, kv jetstream.KeyValue, hub *bridge.Hub) error {
	watch, err := kv.WatchFiltered(ctx, []string{"n.*", "u.*"})
	if err != nil {
		return err
	}
	defer watch.Stop() //nolint:errcheck // the connection may be gone
	d.mu.Lock()
	d.synced, d.found = false, map[bridge.SenderID]struct{}{}
	for id, s := range d.known { // the servers may have begun anew
		s.revision = 0
		d.known[id] = s
	}
	d.mu.Unlock()
	writing := make(chan struct{}, 1)
	var writers sync.WaitGroup
	defer writers.Wait()
	beside, stop := context.WithCancel(ctx)
	defer stop()
	writers.Go(func() { d.probe(beside, kv) })
	writers.Go(func() { d.dropTraces(beside, kv) })
	write := func() {
		select {
		case writing <- struct{}{}:
			writers.Go(func() {
				d.write(ctx, kv, hub)
				<-writing
			})
		default: // whoever writes now looks again
		}
	}
	again := time.NewTicker(retry)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, open := <-watch.Updates():
			switch {
			case !open:
				return errNoServer
			case e == nil:
				d.caughtUp(hub)
				write()
			default:
				d.heard(e, hub)
			}
		case <-d.wake:
			write()
		case <-again.C:
			write()
		}
	}
}

// heard takes a change that the space tells.
func (d *Directory) heard(e jetstream.KeyValueEntry, hub *bridge.Hub) {
	if e.Operation() != jetstream.KeyValuePut {
		d.mu.Lock()
		var id bridge.SenderID
		for known, s := range d.known {
			if s.key == e.Key() && s.revision < e.Revision() {
				id = known
			}
		}
		delete(d.known, id)
		d.mu.Unlock()
		if id != 0 {
			hub.Peers().Deleted(id)
		}
		return
	}
	var r bridge.Record
	if err := json.Unmarshal(e.Value(), &r); err != nil || r.ID == 0 || keyOf(&r) != e.Key() {
		d.log.WithField("key", e.Key()).Error("a sender of the space cannot be read: it is left out")
		return
	}
	d.mu.Lock()
	was := d.known[r.ID]
	if was.revision >= e.Revision() {
		d.mu.Unlock()
		return
	}
	d.known[r.ID] = shared{e.Key(), e.Revision(), sha256.Sum256(e.Value())}
	if d.found != nil {
		d.found[r.ID] = struct{}{}
	}
	mine := d.pending[r.ID] != nil
	d.mu.Unlock()
	if !mine { // else what is written next has both
		hub.Peers().Learned(r)
	}
}

// caughtUp is called when all is known that the space has. What it does not have is written: names
// of a gateway that is new in the space, or all if the servers have lost theirs. (What was
// deleted is still there as deleted.)
func (d *Directory) caughtUp(hub *bridge.Hub) {
	d.mu.Lock()
	for id := range d.known {
		if _, found := d.found[id]; !found {
			delete(d.known, id)
		}
	}
	d.synced, d.found = true, nil
	d.mu.Unlock()
	hub.Peers().Records(d.offer)
}

// offer writes a record that the space does not have.
func (d *Directory) offer(r bridge.Record) {
	r.Kept = nil
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.known[r.ID]; !known && d.pending[r.ID] == nil {
		d.changeLocked(r.ID).record = &r
	}
}
