package remote

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"watchtower/bridge"
)

// documents are the gateway's own retained messages at the broker. They are written anew after
// each connection: the broker may have been restarted empty, or with an old database.
type documents struct {
	client *client
	wake   chan struct{}

	refused func(topic string)                                            // by the broker
	rewrite func(ctx context.Context, topic string, payload []byte) error // writes a refused one

	mu     sync.Mutex
	all    map[string]document
	order  []string        // topics that have to be written, oldest first
	due    map[string]bool // the same
	denied map[string]bool // topics that the broker refused on this connection
}

type document struct {
	payload []byte // empty: it is to be removed
	ends    time.Time
}

func newDocuments(c *client) *documents {
	return &documents{client: c, wake: make(chan struct{}, 1), all: map[string]document{}, due: map[string]bool{}, denied: map[string]bool{}}
}

// set retains a document; an empty payload removes it. Lifetime is how long it is retained; 0:
// until it is replaced. It waits for nothing.
func (d *documents) set(topic string, payload []byte, lifetime time.Duration) {
	doc := document{payload: payload}
	if lifetime > 0 {
		doc.ends = time.Now().Add(lifetime)
	}
	d.mu.Lock()
	d.all[topic] = doc
	d.dueLocked(topic)
	d.mu.Unlock()
	d.signal()
}

// find returns a document; own is false if the gateway has none of that topic.
func (d *documents) find(topic string) (doc document, own bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	doc, own = d.all[topic]
	return doc, own && len(doc.payload) > 0
}

// forget forgets a document that was removed at the broker already.
func (d *documents) forget(topic string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.all, topic)
}

// repeat has a document written again.
func (d *documents) repeat(topic string) {
	d.mu.Lock()
	if _, own := d.all[topic]; own {
		d.dueLocked(topic)
	}
	d.mu.Unlock()
	d.signal()
}

func (d *documents) dueLocked(topic string) {
	if !d.due[topic] {
		d.due[topic] = true
		d.order = append(d.order, topic)
	}
}

func (d *documents) signal() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// again has all written.
func (d *documents) again() {
	d.mu.Lock()
	clear(d.denied)
	for topic := range d.all {
		d.dueLocked(topic)
	}
	d.mu.Unlock()
	d.signal()
}

// deny notes that the broker refused a document.
func (d *documents) deny(topic string) {
	d.mu.Lock()
	d.denied[topic] = true
	d.mu.Unlock()
}

// deniedTopic returns one that the broker refuses, or nothing.
func (d *documents) deniedTopic() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.denied) == 0 {
		return ""
	}
	return slices.Min(slices.Collect(maps.Keys(d.denied)))
}

// retry writes what the broker refused once more, until it refuses one again.
func (d *documents) retry(ctx context.Context) {
	for topic := d.deniedTopic(); topic != ""; topic = d.deniedTopic() {
		if doc, own := d.find(topic); own && d.rewrite(ctx, topic, doc.payload) != nil {
			return
		}
		d.mu.Lock()
		delete(d.denied, topic)
		d.mu.Unlock()
	}
}

// strangeMost bounds the topics of the gateway's that others wrote and that wait to be removed.
const strangeMost = 1024

// correct hears what others wrote on the gateway's topics: the will of an earlier connection, or
// what an earlier run left there.
func (d *documents) correct(m *received) {
	d.mu.Lock()
	doc, own := d.all[m.topic]
	strange := !own && m.retain && len(m.payload) > 0 && len(d.order) < strangeMost
	if own && string(doc.payload) != string(m.payload) || strange {
		d.all[m.topic] = doc
		d.dueLocked(m.topic)
	}
	d.mu.Unlock()
	d.signal()
}

// serve writes what is due, while there is a connection.
func (d *documents) serve(ctx context.Context) {
	again := time.NewTicker(deniedEvery)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			last, end := context.WithTimeout(context.WithoutCancel(ctx), farewell)
			d.write(last)
			end()
			return
		case <-again.C:
			d.retry(ctx)
			continue
		case <-d.wake:
		}
		d.write(ctx)
	}
}

func (d *documents) write(ctx context.Context) {
	for {
		version := d.client.version()
		topic, doc, ok := d.next(version != 0)
		if !ok {
			return
		}
		p := publish{topic: []byte(topic), payload: doc.payload, qos: 1, retain: true}
		if !doc.ends.IsZero() && version == version5 {
			p.props = appendExpiry(nil, uint32(max(time.Until(doc.ends)/time.Second, 1)))
		}
		for {
			room := d.client.outbox.waitRoom()
			it := &item{stays: true, version: version, drop: func(why bridge.Reason) {
				d.client.dropped(why)
				if why == bridge.Refused {
					d.refused(topic)
				}
			}}
			it.b, it.idAt = p.encode(nil, version)
			if d.client.send(it, nil) {
				break
			}
			select {
			case <-room:
			case <-time.After(time.Second):
			}
			if ctx.Err() != nil || d.client.version() == 0 {
				return // all is written anew with the next connection
			}
		}
	}
}

// next returns the document that is to be written next. A removed one is known no more then.
func (d *documents) next(connected bool) (topic string, doc document, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !connected || len(d.order) == 0 {
		return "", doc, false
	}
	topic = d.order[0]
	d.order = d.order[1:]
	delete(d.due, topic)
	doc = d.all[topic]
	if !doc.ends.IsZero() && time.Now().After(doc.ends) {
		doc = document{}
	}
	if len(doc.payload) == 0 {
		delete(d.all, topic)
	}
	return topic, doc, true
}
