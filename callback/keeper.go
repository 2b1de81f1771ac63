package callback

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"watchtower/bridge"
)

// keeper writes what changed to the store, in groups, and in nobody's
// way. What is delivered before the next group is never written, so a receiver
// that keeps up costs the disk nothing; and a kill loses a group at most.
type keeper struct {
	service *Service
	store   Store
	every   time.Duration
	dirty   map[*endpoint]struct{} // guarded by Service.mu
	running sync.WaitGroup
	ending  chan struct{}

	saving sync.Mutex          // one group at a time; it guards all below
	rows   map[string][]byte   // changes that are not on disk yet
	disk   map[string]struct{} // keys of the rows that are
	failed bool                // the last group could not be written
}

// sweepEvery is how often endpoints of forgotten senders are looked for.
const sweepEvery = time.Minute

func (k *keeper) run() {
	t := time.NewTicker(k.every)
	defer t.Stop()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case <-k.ending:
			return
		case <-sweep.C:
			k.service.sweep()
		case <-t.C:
			k.saveLogged()
		}
	}
}

// stop writes all that is left.
func (k *keeper) stop() {
	close(k.ending)
	k.running.Wait()
	k.saveLogged()
}

// saveLogged writes one group. That it cannot is logged when it begins.
func (k *keeper) saveLogged() {
	if err := k.save(); err != nil && !errors.Is(err, errStillFailing) {
		k.service.log.WithError(err).Error("what waits for callbacks is not written: trying again")
	}
}

var errStillFailing = errors.New("still not written")

// save writes one group.
func (k *keeper) save() error {
	k.saving.Lock()
	defer k.saving.Unlock()
	c := k.service
	c.mu.Lock()
	var written []pendingRow
	for e := range k.dirty {
		delete(k.dirty, e)
		written = append(written, k.changesLocked(e)...)
	}
	c.mu.Unlock()
	for _, w := range written { // bodies are shared and do not change: no lock is needed to copy them
		if _, there := k.disk[w.key]; w.header == nil && !there {
			delete(k.rows, w.key) // it was never written: a disk that fails for a year fills no memory
			continue
		}
		k.rows[w.key] = w.encode()
	}
	if len(k.rows) == 0 {
		return nil
	}
	err := k.store.Commit(k.rows) // on an error k.rows keeps them, and merges what comes
	again := err != nil && k.failed
	k.failed = err != nil
	if again {
		return fmt.Errorf("%w: %w", errStillFailing, err)
	}
	if err != nil {
		return err
	}
	for key, value := range k.rows {
		if value == nil {
			delete(k.disk, key)
		} else {
			k.disk[key] = struct{}{}
		}
	}
	clear(k.rows)
	return nil
}

// pendingRow is a row that is to be written.
type pendingRow struct {
	key    string
	header any    // nil: the row is deleted
	body   []byte // behind the header's line
}

func (r pendingRow) encode() []byte {
	if r.header == nil {
		return nil
	}
	b, err := json.Marshal(r.header)
	if err != nil { // plain structs: cannot fail
		return nil
	}
	return append(append(b, '\n'), r.body...)
}

// storedEndpoint and storedDelivery are what rows hold.
type storedEndpoint struct {
	Sender bridge.SenderID `json:"sender"`
	URL    string          `json:"url"`
	endpointState
}

type storedDelivery struct {
	ID      string         `json:"id"`
	Channel bridge.Channel `json:"channel"`
	Said    time.Time      `json:"said"`
	Expires time.Time      `json:"expires,omitzero"`
	Hops    uint8          `json:"hops,omitempty"`
	Why     string         `json:"why,omitempty"` // it was given up
}

// The keys: an endpoint's is its number, so that one that takes the place of
// another shares nothing with it; a delivery's goes on with its own.
const endpointKeyBytes = 8

func (e *endpoint) rowKey() string { return string(binary.BigEndian.AppendUint64(nil, e.number)) }

func deliveryKey(endpoint string, seq uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte(endpoint), seq))
}

// changesLocked returns how an endpoint differs from what is on disk.
func (k *keeper) changesLocked(e *endpoint) (rows []pendingRow) {
	key := e.rowKey()
	present := map[uint64]struct{}{}
	compare := func(d *delivery) {
		if d == nil || d.report() {
			return
		}
		present[d.seq] = struct{}{}
		if changes, saved := e.saved[d.seq]; saved && changes == d.changes {
			return
		}
		e.saved[d.seq] = d.changes
		rows = append(rows, pendingRow{deliveryKey(key, d.seq), storedDelivery{d.id, d.channel, d.said, d.expires, d.hops, d.why}, d.body})
	}
	known := k.service.endpoints[e.key] == e
	if known {
		compare(e.current)
		for _, d := range e.waiting {
			compare(d)
		}
		for _, d := range e.failed {
			compare(d)
		}
	}
	for seq := range e.saved {
		if _, there := present[seq]; !there {
			delete(e.saved, seq)
			rows = append(rows, pendingRow{key: deliveryKey(key, seq)})
		}
	}
	return append(rows, k.endpointRowLocked(e, key, known)...)
}

// endpointRowLocked returns the row of the endpoint itself, if that has to change.
// There is one where there is something to remember.
func (k *keeper) endpointRowLocked(e *endpoint, key string, known bool) []pendingRow {
	switch needed := known && (len(e.saved) > 0 || e.state != endpointState{}); {
	case needed && (!e.stored || e.state != e.storedState):
		e.stored, e.storedState = true, e.state
		return []pendingRow{{key: key, header: storedEndpoint{e.key.sender.ID(), e.key.url, e.state}}}
	case !needed && e.stored:
		e.stored = false
		return []pendingRow{{key: key}}
	}
	return nil
}

// restore brings back what the store has, once, after the callbacks were
// attached. What belongs to nobody any more is deleted.
func (k *keeper) restore() error {
	c := k.service
	var e *endpoint
	var at string // the key of e, or of one that nobody has
	err := k.store.Load(func(key string, value []byte) error {
		k.disk[key] = struct{}{}
		header, body, _ := bytes.Cut(value, []byte{'\n'})
		var err error
		switch {
		case len(key) == endpointKeyBytes:
			at = key
			e, err = k.restoreEndpoint(binary.BigEndian.Uint64([]byte(key)), header)
		case len(key) == endpointKeyBytes+8 && key[:endpointKeyBytes] == at && e != nil:
			err = c.restoreDelivery(e, binary.BigEndian.Uint64([]byte(key[endpointKeyBytes:])), header, body)
		default:
			err = errNobody
		}
		if err != nil {
			k.rows[key] = nil
			if !errors.Is(err, errNobody) {
				c.log.WithError(err).Error("a callback's record is damaged and was dropped")
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("callbacks: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.endpoints {
		if !e.stored { // the numbers that are on disk are known only now
			c.numbers++
			e.number = c.numbers
		}
	}
	return nil
}

var errNobody = errors.New("nobody's")

func (k *keeper) restoreEndpoint(number uint64, header []byte) (*endpoint, error) {
	c := k.service
	var stored storedEndpoint
	if err := json.Unmarshal(header, &stored); err != nil {
		return nil, err
	}
	sender, known := c.hub.SenderByID(stored.Sender)
	if !known {
		return nil, errNobody
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := endpointKey{sender, stored.URL}
	e := c.endpoints[key]
	if e == nil {
		e = c.newEndpointLocked(key)
	}
	e.listed, e.number = true, number
	c.numbers = max(c.numbers, number)
	e.state, e.stored, e.storedState = stored.endpointState, true, stored.endpointState
	if len(e.attached) > 0 { // the file of the senders was later
		e.state.Disabled = time.Time{}
	}
	return e, nil
}

// restoreDelivery puts a delivery back where it was. The bytes are the caller's
// no more.
func (c *Service) restoreDelivery(e *endpoint, seq uint64, header, body []byte) error {
	var stored storedDelivery
	if err := json.Unmarshal(header, &stored); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d := &delivery{
		to: e.attached[stored.Channel], body: body, hops: stored.Hops, id: stored.ID, channel: stored.Channel,
		expires: stored.Expires, said: stored.Said, seq: seq,
	}
	if d.to == nil {
		if stored.Why == "" {
			c.drop(bridge.Disconnected, 1)
		}
		if stored.Why == "" || !e.disabled() {
			return errNobody
		}
		d.to = &receiver{key: e.key, channel: stored.Channel, ended: closedChannel}
	}
	e.lastSeq = max(e.lastSeq, seq)
	e.saved[seq] = d.changes
	if stored.Why != "" {
		d.why = stored.Why
		e.restoreFailed(d)
		return nil
	}
	e.waiting = append(e.waiting, d)
	e.hold(d, 1)
	return nil
}

// closedChannel is what has ended.
var closedChannel = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()
