package nats

import (
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"watchtower/bridge"
)

// A space has one bucket, WT_<space>_DIR, in JetStream:
//
//	meta        the space's keys, sealed with a key that is made of the secret key
//	slot.<n>    the id of the gateway that has the slot
//	id.<id>     the name whose id it is
//	n.<name>    the record of the sender of a name
//	u.<id>      the record of a sender without a name
//
// A gateway keeps its own copy of all that on its disk, so it also starts while there is no
// server.

// Keys are what the gateways of a space have in common.
type Keys struct {
	ID       []byte `json:"id"`       // makes the ids of names
	Pass     []byte `json:"pass"`     // proves short tokens
	Callback []byte `json:"callback"` // signs callbacks

	Generation uint64 `json:"generation"` // of the secret key
}

// Membership is a gateway's place in a space. It is kept on its disk.
type Membership struct {
	Space string      `json:"space"`
	Slot  bridge.Slot `json:"slot"`
	Keys  Keys        `json:"keys"`
}

const (
	firstPatience = 30 * time.Second // servers that have just started need some seconds for a leader
	againPatience = 5 * time.Second
	tryPatience   = 2 * time.Second
	slotsMost     = 255
	copies        = 3 // of the bucket, if there are as many servers
)

var errNoServer = errors.New("no NATS server can be reached, or JetStream has no leader")

// Join returns the gateway's place in the space. Known is what it was at the last start. With
// it, no server is needed. Own are the keys of a gateway that is the first in its space.
func (t *Transport) Join(ctx context.Context, gateway uint32, secret string, known *Membership, own Keys) (*Membership, error) {
	same := known != nil && known.Space == t.opts.Space && (t.opts.Slot == 0 || bridge.Slot(t.opts.Slot) == known.Slot)
	patience := firstPatience
	if same {
		patience = againPatience
		own = known.Keys
		own.Generation++ // the space has a new secret key, if its keys are not there any more
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		if same && !t.conn.IsConnected() {
			return known, nil
		}
		if err := t.refusal(); err != nil {
			return nil, fmt.Errorf("cluster.url: %w", err)
		}
		m, err := t.joinOnce(ctx, gateway, secret, own)
		switch {
		case err == nil:
			return m, nil
		case !errors.Is(err, errNoServer):
			return nil, err
		case wait(ctx, retry):
		case same:
			t.log.WithError(err).Warn("the gateway starts with what it knows of its space")
			return known, nil
		default:
			return nil, fmt.Errorf("cluster.url: %w: a gateway's first start in a space needs them (%w)", err, cmp.Or(t.conn.LastError(), context.DeadlineExceeded))
		}
	}
}

// refusal returns why a server that is there does not let the gateway in. Nil: none is there, or
// it does.
func (t *Transport) refusal() error {
	err := t.conn.LastError()
	var verify *tls.CertificateVerificationError
	var alert tls.AlertError
	switch {
	case t.conn.IsConnected() || err == nil:
		return nil
	case t.conn.IsClosed(), errors.Is(err, client.ErrAuthorization), errors.Is(err, client.ErrTLS), errors.As(err, &verify), errors.As(err, &alert):
		return err
	}
	return nil
}

func (t *Transport) joinOnce(ctx context.Context, gateway uint32, secret string, own Keys) (*Membership, error) {
	ctx, cancel := context.WithTimeout(ctx, tryPatience)
	defer cancel()
	m, err := t.join(ctx, gateway, secret, own)
	if err != nil && ctx.Err() != nil {
		err = errNoServer
	}
	return m, err
}

// tooOld reports whether a server is older than 2.10, which cannot watch two kinds of keys at once.
func tooOld(version string) bool {
	var major, minor int
	_, err := fmt.Sscanf(version, "%d.%d", &major, &minor)
	return err == nil && (major < 2 || major == 2 && minor < 10)
}

func (t *Transport) join(ctx context.Context, gateway uint32, secret string, own Keys) (*Membership, error) {
	if version := t.conn.ConnectedServerVersion(); tooOld(version) {
		return nil, fmt.Errorf("cluster.url: the NATS server is of version %s: 2.10 or newer is needed", version)
	}
	kv, err := t.bucket(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := t.keys(ctx, kv, secret, own)
	if err != nil {
		return nil, err
	}
	slot, err := t.slot(ctx, kv, fmt.Sprintf("%08x", gateway))
	if err != nil {
		return nil, err
	}
	return &Membership{t.opts.Space, slot, keys}, nil
}

// bucket returns the space's bucket of senders.
func (t *Transport) bucket(ctx context.Context) (jetstream.KeyValue, error) {
	return t.open(ctx, "DIR", "senders of the gateways of a space")
}

// open returns a bucket of the space, which the first gateway makes.
func (t *Transport) open(ctx context.Context, what, description string) (jetstream.KeyValue, error) {
	js, err := jetstream.New(t.conn)
	if err != nil {
		return nil, err
	}
	name := "WT_" + t.opts.Space + "_" + what
	kv, err := js.KeyValue(ctx, name)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		kv, err = create(ctx, js, name, description)
	}
	switch {
	case err == nil:
		return kv, nil
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return nil, fmt.Errorf("cluster.url: the NATS servers have no JetStream, or the account may not use it: %w", err)
	}
	return nil, fmt.Errorf("%w: %w", errNoServer, err)
}

const retry = 250 * time.Millisecond

// wait waits, and reports whether ctx goes on.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func create(ctx context.Context, js jetstream.JetStream, name, description string) (kv jetstream.KeyValue, err error) {
	for _, n := range []int{copies, 1} {
		c := jetstream.KeyValueConfig{Bucket: name, Description: "Watchtower: " + description, History: 1, Storage: jetstream.FileStorage, Replicas: n}
		var refused *jetstream.APIError
		if kv, err = js.CreateKeyValue(ctx, c); !errors.As(err, &refused) {
			return kv, err
		}
	}
	return kv, err
}

// keys returns the space's keys. The first gateway gives its own.
func (t *Transport) keys(ctx context.Context, kv jetstream.KeyValue, secret string, own Keys) (keys Keys, err error) {
	seal, err := sealer(secret, t.opts.Space)
	if err != nil {
		return keys, err
	}
	text, err := json.Marshal(own)
	if err != nil {
		return keys, err
	}
	nonce := make([]byte, seal.NonceSize())
	_, _ = rand.Read(nonce) // never fails: it ends the program instead
	_, err = kv.Create(ctx, "meta", seal.Seal(nonce, nonce, text, nil))
	if err == nil {
		return own, nil
	}
	entry, err := kv.Get(ctx, "meta")
	if err != nil {
		return keys, errNoServer
	}
	b := entry.Value()
	if len(b) > len(nonce) {
		text, err = seal.Open(nil, b[:len(nonce)], b[len(nonce):], nil)
	}
	if err != nil || json.Unmarshal(text, &keys) != nil || len(keys.ID) == 0 {
		return keys, fmt.Errorf("secret_key: the space %q (cluster.space) has another secret key: give this gateway the same one, or another space", t.opts.Space)
	}
	return keys, nil
}

// sealer seals what only the gateways of a space may read.
func sealer(secret, space string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(secret), nil, "watchtower space "+space, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// slot returns the slot that a gateway has, or claims one for it.
func (t *Transport) slot(ctx context.Context, kv jetstream.KeyValue, gateway string) (bridge.Slot, error) {
	lister, err := kv.ListKeysFiltered(ctx, "slot.*")
	if err != nil {
		return 0, errNoServer
	}
	taken := map[int]bool{}
	for key := range lister.Keys() {
		n, err := strconv.Atoi(key[len("slot."):])
		if err != nil {
			continue
		}
		taken[n] = true
		entry, err := kv.Get(ctx, key)
		if err == nil && string(entry.Value()) == gateway && (t.opts.Slot == 0 || t.opts.Slot == n) {
			return bridge.Slot(n), nil
		}
	}
	if t.opts.Slot > 0 {
		if _, err := kv.Create(ctx, slotKey(t.opts.Slot), []byte(gateway)); errors.Is(err, jetstream.ErrKeyExists) {
			return 0, fmt.Errorf("cluster.slot: %d is another gateway's: choose another, or 0", t.opts.Slot)
		} else if err != nil {
			return 0, errNoServer
		}
		return bridge.Slot(t.opts.Slot), nil
	}
	for n := 1; n <= slotsMost; n++ {
		if taken[n] {
			continue
		}
		_, err := kv.Create(ctx, slotKey(n), []byte(gateway))
		if err == nil {
			return bridge.Slot(n), nil
		} else if !errors.Is(err, jetstream.ErrKeyExists) {
			return 0, errNoServer
		}
	}
	return 0, fmt.Errorf("cluster.slot: all %d slots of the space %q are taken: delete keys slot.N of gateways that are gone from the bucket %s", slotsMost, t.opts.Space, kv.Bucket())
}

func slotKey(n int) string { return fmt.Sprintf("slot.%d", n) }
