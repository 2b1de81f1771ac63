package callback

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"

	"watchtower/bridge"
	"watchtower/ticker"
)

// keeper writes changes to the store, in groups, in its own goroutine. A delivery that is
// done before the next group is never written, so a receiver that keeps up causes no
// writes. A kill loses one group at most.
type keeper struct {
	service *Service
	store   Store
	every   time.Duration
	dirty   map[*endpoint]struct{} // guarded by Service.mu
	running sync.WaitGroup
	ending  chan struct{}
	noted   chan struct{} // has room for one: there is something to save

	saving sync.Mutex          // one group at a time; guards all fields below
	rows   map[string][]byte   // changes that are not on disk yet
	disk   map[string]struct{} // keys of the rows on disk
	failed bool                // the last group could not be written
}

// sweepEvery is how often endpoints of forgotten senders are looked for.
const sweepEvery = time.Minute

// run saves from time to time until the keeper ends. While nothing changes, it waits.
func (k *keeper) run() {
	sweep := ticker.New(sweepEvery)
	defer sweep.Stop()
	var save <-chan time.Time // nil: nothing is to be saved
	noted := k.noted
	for {
		select {
		case <-k.ending:
			return
		case <-sweep.C:
			sweep.Next()
			k.service.sweep()
		case <-noted:
			save, noted = time.After(k.every), nil
		case <-save:
			save, noted = nil, k.noted
			if !k.saveLogged() {
				save, noted = time.After(k.every), nil
			}
		}
	}
}

// noteLocked notes that an endpoint changed. The caller holds Service.mu.
func (k *keeper) noteLocked(e *endpoint) {
	k.dirty[e] = struct{}{}
	k.note()
}

// note has the keeper save soon.
func (k *keeper) note() {
	select {
	case k.noted <- struct{}{}:
	default:
	}
}

// stop ends the goroutine and writes the last group.
func (k *keeper) stop() {
	close(k.ending)
	k.running.Wait()
	k.saveLogged()
}

// saveLogged writes one group, and reports whether that is done. It logs the first failure in
// a row.
func (k *keeper) saveLogged() bool {
	err := k.save()
	if err != nil && !errors.Is(err, errStillFailing) {
		k.service.log.WithError(err).Error("what waits for callbacks is not written: trying again")
	}
	return err == nil
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
	for _, w := range written { // without the lock: bodies do not change
		if _, there := k.disk[w.key]; w.header == nil && !there {
			delete(k.rows, w.key) // it was never written: memory does not grow while the disk fails
			continue
		}
		k.rows[w.key] = w.encode()
	}
	if len(k.rows) == 0 {
		return nil
	}
	err := k.store.Commit(k.rows) // on an error k.rows keeps them for the next group
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

// pendingRow is a row to write.
type pendingRow struct {
	key    string
	header any    // nil: the row is deleted
	body   []byte // follows the header's line
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

// storedEndpoint and storedDelivery are the headers of rows, as JSON.
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
	Why     string         `json:"why,omitempty"`  // why it was given up
	Slot    bridge.Slot    `json:"slot,omitempty"` // of the gateway that took the message
}

// An endpoint's key is its number, 8 bytes: a new endpoint for a URL shares no rows with an
// old one. A delivery's key is its endpoint's, followed by its own number.
const endpointKeyBytes = 8

func (e *endpoint) rowKey() string { return string(binary.BigEndian.AppendUint64(nil, e.number)) }

func deliveryKey(endpoint string, seq uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte(endpoint), seq))
}

// changesLocked returns the rows by which an endpoint differs from the disk.
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
		rows = append(rows, pendingRow{deliveryKey(key, d.seq), storedDelivery{d.id, d.channel, d.said, d.expires, d.hops, d.why, d.slot}, d.body})
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

// endpointRowLocked returns the endpoint's own row if it has to change. An endpoint has a
// row if it has deliveries on disk or a state to remember.
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

// restore reads the store, once, after the callbacks are attached. It deletes rows that
// belong to no sender or callback any more.
func (k *keeper) restore() error {
	c := k.service
	var e *endpoint
	var at string // the key of the last endpoint's row; e is nil if it was dropped
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
	k.note() // rows that belong to nobody go
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.endpoints {
		if !e.stored { // only now are the numbers on disk known
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
	key := endpointKey{sender: sender, url: stored.URL}
	e := c.endpoints[key]
	if e == nil {
		e = c.newEndpointLocked(key)
	}
	e.listed, e.number = true, number
	c.numbers = max(c.numbers, number)
	e.state, e.stored, e.storedState = stored.endpointState, true, stored.endpointState
	e.shared = e.state.lasting() // the space knows better
	if len(e.attached) > 0 {     // the senders' file is newer: it was joined again
		e.state.Disabled = time.Time{}
	}
	return e, nil
}

// restoreDelivery restores a delivery as waiting or failed. It keeps the body's bytes.
func (c *Service) restoreDelivery(e *endpoint, seq uint64, header, body []byte) error {
	var stored storedDelivery
	if err := json.Unmarshal(header, &stored); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	d := &delivery{
		to: e.attached[stored.Channel], body: body, hops: stored.Hops, id: stored.ID, channel: stored.Channel,
		expires: stored.Expires, said: stored.Said, seq: seq, slot: stored.Slot,
	}
	if len(d.id) > ulid.EncodedSize {
		d.mid, _ = ulid.ParseStrict(d.id[:ulid.EncodedSize]) // a gap has none
	}
	if d.to == nil {
		if stored.Why == "" {
			c.drop(e.key.sender, bridge.Disconnected, 1)
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

// closedChannel marks a receiver as ended.
var closedChannel = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()
