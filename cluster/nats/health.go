package nats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	probeEvery = 2 * time.Second // between two questions to the servers
	replicaFor = 5 * time.Second // a leader hears each replica once a second
)

var (
	errUnconnected = errors.New("no NATS server can be reached: the gateway serves alone, and refuses new names")
	errQuorum      = errors.New("most of them are silent")
	errBehind      = errors.New("the space's names are still being read")
)

// Healthy returns why the gateway does not share its channels or names just now, or nil.
func (d *Directory) Healthy() error {
	if err := d.transport.Healthy(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.fault != nil:
		return fmt.Errorf("the NATS servers keep no new names now: they are refused (%w)", d.fault)
	case !d.synced:
		return errBehind
	}
	return nil
}

func (d *Directory) setFault(err error) {
	d.mu.Lock()
	d.fault = err
	d.mu.Unlock()
}

// probe asks the servers for the state of the bucket, again and again, until ctx ends.
func (d *Directory) probe(ctx context.Context, kv jetstream.KeyValue) {
	for {
		asked, end := context.WithTimeout(ctx, tryPatience)
		err := probeOnce(asked, kv)
		end()
		if ctx.Err() != nil {
			return
		}
		d.setFault(err)
		if !wait(ctx, probeEvery) {
			return
		}
	}
}

// probeOnce returns why the bucket takes nothing. Only its leader answers, which steps down some
// time after most servers are gone.
func probeOnce(ctx context.Context, kv jetstream.KeyValue) error {
	status, err := kv.Status(ctx)
	if err != nil {
		return err
	}
	bucket, ok := status.(*jetstream.KeyValueBucketStatus)
	if !ok || bucket.StreamInfo().Cluster == nil {
		return nil // one server alone
	}
	replicas := bucket.StreamInfo().Cluster.Replicas
	silent := 0
	for _, r := range replicas {
		if r.Offline || r.Active > replicaFor {
			silent++
		}
	}
	if 2*silent > len(replicas) { // the leader is one more, and is here
		return errQuorum
	}
	return nil
}
