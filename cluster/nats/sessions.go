package nats

import (
	"context"
	"encoding/hex"
	"errors"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// Sessions keeps what a gateway must know of the MQTT sessions of another one that is gone, in a
// bucket, WT_<space>_SESSIONS:
//
//	<32 hexadecimal digits>    the row of a session
//
// A session that has ended is there as a deleted key with a value, for a while.
type Sessions struct {
	transport *Transport
	log       *logrus.Logger
	publisher jetstream.JetStream // nil: not yet
	late      bool                // it was logged that nothing is written
}

// NewSessions returns what keeps the sessions of the transport's space.
func NewSessions(t *Transport, log *logrus.Logger) *Sessions {
	return &Sessions{transport: t, log: log}
}

// Serve tells the keeper what the space has, and writes what changes, until ctx ends.
func (s *Sessions) Serve(ctx context.Context, keeper bridge.StayKeeper) {
	for ctx.Err() == nil {
		life, end := context.WithTimeout(ctx, tryPatience)
		kv, err := s.transport.open(life, "SESSIONS", "Watchtower: MQTT sessions of the gateways of a space")
		end()
		if err == nil {
			err = s.follow(ctx, kv, keeper)
		}
		if ctx.Err() == nil {
			s.log.WithError(err).Debug("the space's MQTT sessions cannot be read now")
			wait(ctx, retry)
		}
	}
}

// follow works with the bucket until it fails or ctx ends.
func (s *Sessions) follow(ctx context.Context, kv jetstream.KeyValue, keeper bridge.StayKeeper) error {
	keeper.BeginStays(adopting{kv})
	watch, err := kv.WatchAll(ctx)
	if err != nil {
		return err
	}
	defer watch.Stop() //nolint:errcheck // the connection may be gone
	ctx, end := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	defer func() { end(nil); <-ended }()
	go func() {
		defer close(ended)
		end(s.write(ctx, kv, keeper))
	}()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case e, open := <-watch.Updates():
			switch {
			case !open:
				return errNoServer
			case e == nil:
				keeper.StaysInStep()
			default:
				learnStay(keeper, e)
			}
		}
	}
}

func learnStay(keeper bridge.StayKeeper, e jetstream.KeyValueEntry) {
	row := bridge.StayRow{Data: e.Value(), Ended: e.Operation() != jetstream.KeyValuePut}
	if n, err := hex.Decode(row.Key[:], []byte(e.Key()[:min(len(e.Key()), 2*len(row.Key))])); err != nil || n != len(row.Key) || len(row.Data) == 0 {
		return // deleted by hand
	}
	keeper.LearnStay(row, e.Revision())
}

// write writes what changes, until ctx ends or the bucket is another.
func (s *Sessions) write(ctx context.Context, kv jetstream.KeyValue, keeper bridge.StayKeeper) error {
	js, err := s.transport.publisher(&s.publisher)
	if err != nil {
		return err
	}
	var made, looked, dropped time.Time
	for wait(ctx, writeEvery) {
		s.writeSome(ctx, js, kv.Bucket(), keeper)
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
			return errors.New("the space's sessions were deleted: they are written again")
		}
		if time.Since(dropped) > tracesEvery {
			dropped = time.Now()
			if err := kv.PurgeDeletes(ctx, jetstream.DeleteMarkersOlderThan(tracesKept)); err != nil {
				s.log.WithError(err).Debug("old traces of ended sessions remain")
			}
		}
	}
	last, end := context.WithTimeout(context.WithoutCancel(ctx), lastPatience)
	defer end()
	s.writeSome(last, js, kv.Bucket(), keeper)
	return ctx.Err()
}

// writeSome writes a round. What fails is given back.
func (s *Sessions) writeSome(ctx context.Context, js jetstream.JetStream, bucket string, keeper bridge.StayKeeper) {
	if !s.transport.conn.IsConnected() {
		return
	}
	rows := keeper.UnwrittenStays(writtenMost)
	futures := make([]jetstream.PubAckFuture, len(rows))
	var failed error
	for i, row := range rows {
		msg := client.NewMsg("$KV." + bucket + "." + hex.EncodeToString(row.Key[:]))
		msg.Data = row.Data
		if row.Ended {
			msg.Header.Set("KV-Operation", "DEL")
		}
		var err error
		if futures[i], err = js.PublishMsgAsync(msg); errors.Is(err, client.ErrMaxPayload) {
			s.transport.logOnce("max_payload sessions", "an MQTT session has too many subscriptions for the NATS servers: it is lost if its gateway is. Raise their max_payload")
		} else if err != nil {
			failed = err
			keeper.StayNotWritten(row)
		}
	}
	for i, f := range futures {
		if f == nil {
			continue
		}
		select {
		case <-f.Ok():
		case err := <-f.Err():
			failed = err
			keeper.StayNotWritten(rows[i])
		case <-ctx.Done():
			keeper.StayNotWritten(rows[i])
		}
	}
	s.tell(failed, len(rows))
}

// tell logs that writing fails, and that it does not any more.
func (s *Sessions) tell(failed error, n int) {
	switch {
	case failed != nil && !s.late:
		s.late = true
		s.log.WithError(failed).Warn("the NATS servers keep no MQTT sessions now: what changes in one is lost with its gateway")
	case failed == nil && s.late && n > 0:
		s.late = false
		s.log.Info("the NATS servers keep MQTT sessions again")
	}
}

// adopting is a bucket as the broker sees it.
type adopting struct{ kv jetstream.KeyValue }

// Adopt is bridge.StayStore's.
func (a adopting) Adopt(ctx context.Context, row bridge.StayRow, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	_, err := a.kv.Update(ctx, hex.EncodeToString(row.Key[:]), row.Data, revision)
	return err
}
