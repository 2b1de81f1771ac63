package nats

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
	"watchtower/cluster"
)

// Retained keeps the retained messages of a space in a bucket, WT_<space>_RETAINED:
//
//	t.<topic>    the newest message of a topic
//	h.<SHA-256>  the same of a topic that is too long for a key
//
// A deletion is there as a deleted key with a value. Messages reach other gateways live, by
// frames; the bucket is for those that are away. It is written late, and heard late, so that what
// is live comes first. The keeper decides by stamps what is newer, so it does not matter
// in which order gateways write.
type Retained struct {
	transport *Transport
	log       *logrus.Logger
	publisher jetstream.JetStream // nil: not yet
	late      bool                // it was logged that nothing is written
}

// NewRetained returns what keeps the retained messages of the transport's space.
func NewRetained(t *Transport, log *logrus.Logger) *Retained {
	return &Retained{transport: t, log: log}
}

const (
	writeEvery   = 250 * time.Millisecond
	writtenMost  = 4096            // messages in one round
	pendingMost  = 256             // of these on their way at a time
	settle       = 2 * time.Second // by which the bucket is heard later: frames may be missed and asked for again
	settleBytes  = 4 << 20         // of what is heard later, at most
	lastPatience = time.Second     // for what is to be written at the end
	stepEvery    = 30 * time.Second
)

// publisher returns the one that is kept there, and makes it if there is none. It ends with the
// connection. To end it earlier may leave a goroutine behind in nats.go 1.55.0.
func (t *Transport) publisher(kept *jetstream.JetStream) (_ jetstream.JetStream, err error) {
	if *kept == nil {
		*kept, err = jetstream.New(t.conn, jetstream.WithPublishAsyncMaxPending(pendingMost), jetstream.WithPublishAsyncTimeout(writePatience))
	}
	return *kept, err
}

// Serve hands the keeper what the space has, and writes what it does not have, until ctx ends.
func (r *Retained) Serve(ctx context.Context, keeper bridge.RetainedKeeper) {
	for ctx.Err() == nil {
		life, end := context.WithTimeout(ctx, tryPatience)
		kv, err := r.transport.open(life, "RETAINED", "retained messages of the gateways of a space")
		end()
		if err == nil {
			err = r.follow(ctx, kv, keeper)
		}
		if ctx.Err() == nil {
			r.log.WithError(err).Debug("the space's retained messages cannot be read now")
			wait(ctx, retry)
		}
	}
}

// follow works with the bucket until it fails or ctx ends.
func (r *Retained) follow(ctx context.Context, kv jetstream.KeyValue, keeper bridge.RetainedKeeper) error {
	keeper.BeginRetained(r.transport.opts.Space)
	watch, err := kv.WatchAll(ctx)
	if err != nil {
		return err
	}
	defer watch.Stop() //nolint:errcheck // the connection may be gone
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	h := hearing{keeper: keeper, log: r.log}
	ended := make(chan struct{})
	defer func() { end(nil); <-ended }()
	ready := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-ready:
			end(r.write(ctx, kv, keeper))
		case <-ctx.Done():
		}
	}()
	t := time.NewTicker(writeEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e, open := <-watch.Updates():
			switch {
			case !open:
				return errNoServer
			case e != nil:
				h.hear(e)
			case !h.all:
				h.all = true
				keeper.RetainedInStep()
				close(ready)
			}
		case <-t.C:
			h.passOn(time.Now().Add(-settle), settleBytes)
		}
	}
}

// hearing is what was heard of a bucket and is passed on later.
type hearing struct {
	keeper bridge.RetainedKeeper
	log    *logrus.Logger
	all    bool // all was heard that was there at the start
	queue  []heardEntry
	bytes  int
}

type heardEntry struct {
	jetstream.KeyValueEntry
	at time.Time
}

func (h *hearing) hear(e jetstream.KeyValueEntry) {
	h.queue = append(h.queue, heardEntry{e, time.Now()})
	h.bytes += len(e.Value())
	if !h.all {
		h.passOn(time.Now(), 0)
	} else if h.bytes > settleBytes {
		h.passOn(time.Time{}, settleBytes)
	}
}

// passOn passes on what was heard until a time, and what is more than so many bytes.
func (h *hearing) passOn(until time.Time, bytes int) {
	for len(h.queue) > 0 && (!h.queue[0].at.After(until) || h.bytes > bytes) {
		e := h.queue[0]
		h.queue[0] = heardEntry{}
		h.queue = h.queue[1:]
		h.bytes -= len(e.Value())
		if m := cluster.DecodeTopic(e.Value(), e.Created()); m != nil {
			h.keeper.LearnRetained(m)
		} else if len(e.Value()) > 0 {
			h.log.WithField("key", e.Key()).Error("a retained message of the space cannot be read: it is left out")
		}
	}
}

// write writes what the bucket does not have, again and again, until ctx ends or the bucket is
// another.
func (r *Retained) write(ctx context.Context, kv jetstream.KeyValue, keeper bridge.RetainedKeeper) error {
	js, err := r.transport.publisher(&r.publisher)
	if err != nil {
		return err
	}
	var made time.Time
	var looked, dropped time.Time
	for wait(ctx, writeEvery) {
		if r.writeSome(ctx, js, kv.Bucket(), keeper) > 0 {
			continue
		}
		if time.Since(looked) < stepEvery {
			continue
		}
		looked = time.Now()
		now, err := madeAt(ctx, kv)
		switch {
		case err != nil:
			continue // it is not known
		case made.IsZero():
			made = now
		case !now.Equal(made):
			return errors.New("the space's retained messages were deleted: they are written again")
		}
		keeper.RetainedInStep()
		if time.Since(dropped) > tracesEvery {
			dropped = time.Now()
			r.dropTraces(ctx, kv)
		}
	}
	last, end := context.WithTimeout(context.WithoutCancel(ctx), lastPatience)
	defer end()
	r.writeSome(last, js, kv.Bucket(), keeper)
	return ctx.Err()
}

// madeAt returns when a bucket was made.
func madeAt(ctx context.Context, kv jetstream.KeyValue) (time.Time, error) {
	ctx, end := context.WithTimeout(ctx, tryPatience)
	defer end()
	status, err := kv.Status(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if bucket, ok := status.(*jetstream.KeyValueBucketStatus); ok {
		return bucket.StreamInfo().Created, nil
	}
	return time.Time{}, nil
}

// writeSome writes a round, and returns how many messages it had. What fails is given again.
func (r *Retained) writeSome(ctx context.Context, js jetstream.JetStream, bucket string, keeper bridge.RetainedKeeper) int {
	if !r.transport.conn.IsConnected() {
		return 0
	}
	all := keeper.UnwrittenRetained(writtenMost)
	futures := make([]jetstream.PubAckFuture, 0, len(all))
	var failed error
	for _, m := range all {
		f, err := js.PublishMsgAsync(r.row(bucket, m))
		switch {
		case err == nil:
			futures = append(futures, f)
		case errors.Is(err, client.ErrMaxPayload):
			r.transport.logOnce("max_payload retained", "a retained message is too large for the NATS servers: gateways that start later do not get it. Raise their max_payload")
			keeper.LearnRetained(m) // and is not given again
		default:
			failed = err
		}
	}
	for _, f := range futures {
		select {
		case <-f.Ok():
		case err := <-f.Err():
			failed = err
		case <-ctx.Done():
			return len(all)
		}
	}
	r.tell(failed, len(all))
	return len(all)
}

// tell logs that writing fails, and that it does not any more.
func (r *Retained) tell(failed error, n int) {
	switch {
	case failed != nil && !r.late:
		r.late = true
		r.log.WithError(failed).Warn("the NATS servers keep no retained messages now: gateways have what they hear, and write it later")
	case failed == nil && r.late && n > 0:
		r.late = false
		r.log.Info("the NATS servers keep retained messages again")
	}
}

// row is a message as the bucket has it.
func (r *Retained) row(bucket string, m *bridge.TopicMessage) *client.Msg {
	msg := client.NewMsg("$KV." + bucket + "." + retainedKey(m.Topic))
	msg.Data = cluster.EncodeTopic(m, time.Now())
	if len(m.Payload) == 0 {
		msg.Header.Set("KV-Operation", "DEL")
	}
	return msg
}

// keyBytes is the longest topic, as it is written in a key, that is its own key.
const keyBytes = 512

// retainedKey is the key of a topic. A topic may have all that keys and subjects may not: each
// byte of that is written as = and two digits.
func retainedKey(topic string) string {
	var b strings.Builder
	b.WriteString("t.")
	for i := 0; i < len(topic) && b.Len() <= keyBytes; i++ {
		c := topic[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '/' || c == '_' || c == '-' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "=%02X", c)
		}
	}
	if b.Len() <= keyBytes {
		return b.String()
	}
	sum := sha256.Sum256([]byte(topic))
	return "h." + hex.EncodeToString(sum[:])
}

// dropTraces deletes traces of deletions that gateways do not remember any more.
func (r *Retained) dropTraces(ctx context.Context, kv jetstream.KeyValue) {
	if err := kv.PurgeDeletes(ctx, jetstream.DeleteMarkersOlderThan(bridge.RemovedFor)); err != nil {
		r.log.WithError(err).Debug("old traces of deleted retained messages remain")
	}
}
