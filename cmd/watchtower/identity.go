package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/pbkdf2"

	"watchtower/atomicfile"
)

// cacheFile is the file in the data directory where the client keeps its identities.
const cacheFile = "cli.json"

// identity is a sender at one gateway.
type identity struct {
	ID      uint32 `json:"id"`
	Token   string `json:"token"`
	Gateway string `json:"gateway,omitempty"` // its id, the same at each of its URLs; empty: an older one's
	Key     string `json:"key,omitempty"`     // hash of the secret key that registered it; the token is the salt
}

// keyRounds is the number of PBKDF2 rounds, so that a key is slow to guess from its hash.
const keyRounds = 10_000

// hash returns the hash that is kept of a secret key.
func (id identity) hash(key string) string {
	return hex.EncodeToString(pbkdf2.Key([]byte(key), []byte(id.Token), keyRounds, sha256.Size, sha256.New))
}

// provedBy reports whether the identity was registered with that key. If the gateway's key
// was changed since, the gateway refuses the token, and the client registers again.
func (id identity) provedBy(key string) bool {
	return id.Key != "" && subtle.ConstantTimeCompare([]byte(id.Key), []byte(id.hash(key))) == 1
}

// identities maps the gateway's URL and then the name to the client's senders.
type identities map[string]map[string]identity

// senderName returns the name of the client's sender.
func (c *client) senderName() string { return c.name }

// as calls do with an identity of the client's sender: the kept one, or a new one. If the
// gateway refuses the identity, as registers again and calls do again.
func (c *client) as(ctx context.Context, do func(target, identity) error) error {
	t, err := c.find()
	if err != nil {
		return err
	}
	if c.token != "" {
		id, err := c.whose(ctx, t)
		if err != nil {
			return err
		}
		return do(t, id)
	}
	c.nameFor(t)
	id, known, err := c.cached(t)
	if err != nil {
		return err
	}
	if known && t.given && !id.provedBy(t.key) {
		known = false // a given key must be right, even if there is an identity
	}
	more := 1 // how many registrations are left
	if !known {
		more = 2
	}
	for attempt := 0; ; attempt++ {
		if !known {
			if more == 0 {
				return err // a new token was refused too: another one does not help
			}
			more--
			if id, err = c.register(ctx, t, registration{}); err != nil {
				return err
			}
		}
		if err = do(t, id); !refused(err, 401) || attempt == attemptsMost {
			return err
		}
		// Another command may have registered the name meanwhile, and will keep its token in
		// a moment. That token is as good; a further registration would end it.
		if !pauseFor(ctx, rand.N(takeTurns)) {
			return err
		}
		newer, found, failed := c.cached(t)
		known = failed == nil && found && newer != id
		if known {
			id = newer
		}
	}
}

// whose asks whose the given token is.
func (c *client) whose(ctx context.Context, t target) (identity, error) {
	answer, err := c.call(ctx, t, request{method: "GET", path: "/me", token: c.token})
	if err != nil {
		return identity{}, err
	}
	var me struct {
		ID   uint32
		Name string
	}
	if err := json.Unmarshal(answer, &me); err != nil || me.ID == 0 {
		return identity{}, fmt.Errorf("%s is no gateway: it does not say whose the token is. Give another --url", t.url)
	}
	c.name = cmp.Or(me.Name, "sender")
	return identity{ID: me.ID, Token: c.token}, nil
}

// Commands that start together without a token each register the name, and only the last
// token is valid. So each waits a random time up to takeTurns before it tries again.
const (
	attemptsMost = 5
	takeTurns    = 50 * time.Millisecond
)

func pauseFor(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// registration is what a client asks for beside its name.
type registration struct {
	token     string // of the name, if that is protected
	protected bool
	remote    bool // it is a client of a foreign broker
}

// register registers the client's name, and keeps the identity.
func (c *client) register(ctx context.Context, t target, asks registration) (identity, error) {
	body := struct {
		SecretKey string `json:"secret_key,omitempty"`
		Name      string `json:"name"`
		Protected bool   `json:"protected,omitempty"`
		Remote    bool   `json:"remote,omitempty"`
	}{t.key, c.senderName(), asks.protected, asks.remote}
	r, err := jsonRequest("POST", "/register", body)
	if err != nil {
		return identity{}, err
	}
	r.token = asks.token
	answer, err := c.call(ctx, t, r)
	if err != nil {
		if refused(err, 401) && t.key == "" {
			err = fmt.Errorf("%w (give --secret-key)", err)
		}
		return identity{}, fmt.Errorf("register %s: %w", c.senderName(), err)
	}
	var id identity
	if err := json.Unmarshal(answer, &id); err != nil || id.ID == 0 {
		return identity{}, fmt.Errorf("%s is no gateway: it answered a registration without an id. Give another --url", t.url)
	}
	if t.given {
		id.Key = id.hash(t.key)
	}
	if err := c.keep(t, id); err != nil { // the next command has to register again
		fmt.Fprintf(c.err, "watchtower: the registration is not kept: %s\n", describe(err))
	}
	return id, nil
}

func (c *client) cached(t target) (identity, bool, error) {
	dir, err := c.dir()
	if err != nil {
		return identity{}, false, nil // there is no place where an identity could be kept
	}
	all, err := readIdentities(dir)
	if errors.Is(err, os.ErrPermission) {
		return identity{}, false, nil // another user's file; keep reports that
	}
	id, known := all[t.url][c.senderName()]
	return id, known, err
}

func (c *client) keep(t target, id identity) error {
	dir, err := c.dir()
	if err != nil {
		return err
	}
	all, err := readIdentities(dir)
	if err != nil {
		return err
	}
	if all[t.url] == nil {
		all[t.url] = map[string]identity{}
	}
	all[t.url][c.senderName()] = id
	all.share(c.senderName(), id, t.key)
	return writeIdentities(dir, all)
}

// share gives the new token of a name to the other URLs of its gateway: the earlier one has ended
// there too, and another registration would end this one.
func (all identities) share(name string, id identity, key string) {
	if id.Gateway == "" {
		return
	}
	if id.Key == "" && key != "" {
		id.Key = id.hash(key)
	}
	for _, names := range all {
		if names[name].Gateway == id.Gateway && names[name].Token != id.Token {
			names[name] = id
		}
	}
}

func readIdentities(dir string) (identities, error) {
	path := filepath.Join(dir, cacheFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return identities{}, nil
	}
	if err != nil {
		return nil, err
	}
	all := identities{}
	if err := json.Unmarshal(b, &all); err != nil || all == nil {
		return nil, fmt.Errorf("%s is damaged: remove it, and the senders in it register anew", path)
	}
	return all, nil
}

// writeIdentities replaces the file atomically: a command that reads it meanwhile finds the
// old one or the new one. Only its owner can read it: the directory's, if root writes it.
func writeIdentities(dir string, all identities) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteOwned(filepath.Join(dir, cacheFile), string(b)+"\n")
}
