package main

import (
	"context"
	"crypto/pbkdf2"
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

	"watchtower/atomicfile"
)

// cacheFile is where the client keeps who it is, in the data directory.
const cacheFile = "cli.json"

// identity is a sender at one gateway.
type identity struct {
	ID    uint32 `json:"id"`
	Token string `json:"token"`
	Key   string `json:"key,omitempty"` // hash of the secret key that it was registered with, by the token
}

// keyRounds make it slow to guess a key by its hash.
const keyRounds = 10_000

// hash is what is kept of the key that an identity was registered with.
func (id identity) hash(key string) string {
	h, err := pbkdf2.Key(sha256.New, key, []byte(id.Token), keyRounds, sha256.Size)
	if err != nil {
		return "" // no key is like it: the key is proved to the gateway each time
	}
	return hex.EncodeToString(h)
}

// provedBy reports whether the gateway gave the identity for that key. If the
// gateway's key was changed since, it refuses the token, and is asked again.
func (id identity) provedBy(key string) bool {
	return id.Key != "" && subtle.ConstantTimeCompare([]byte(id.Key), []byte(id.hash(key))) == 1
}

// identities are the client's senders, by the gateway's URL and by name.
type identities map[string]map[string]identity

// senderName is the name of the client's sender.
func (c *client) senderName() string { return c.name }

// as calls do as the client's sender: by the identity that is kept, or by a new
// one. An identity that the gateway refuses is replaced.
func (c *client) as(ctx context.Context, do func(target, identity) error) error {
	t, err := c.find()
	if err != nil {
		return err
	}
	c.nameFor(t)
	id, known, err := c.cached(t)
	if err != nil {
		return err
	}
	if known && t.given && !id.provedBy(t.key) {
		known = false // a key that is given has to be right, whatever is kept
	}
	more := 1 // registrations after the identity that it began with
	if !known {
		more = 2
	}
	for attempt := 0; ; attempt++ {
		if !known {
			if more == 0 {
				return err // it is not that: the gateway does not want the sender
			}
			more--
			if id, err = c.register(ctx, t, "", false); err != nil {
				return err
			}
		}
		if err = do(t, id); !refused(err, 401) || attempt == attemptsMost {
			return err
		}
		// Another command may have registered meanwhile: its token is as good, and
		// a further registration would stop it. It is kept in a moment.
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

// Commands that start together and have no token yet take turns: each registers
// the name, and only the last token counts.
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

// register registers the client's name, and keeps the identity. The token is
// that of the name if it is protected; else empty.
func (c *client) register(ctx context.Context, t target, token string, protected bool) (identity, error) {
	body := struct {
		SecretKey string `json:"secret_key,omitempty"`
		Name      string `json:"name"`
		Protected bool   `json:"protected,omitempty"`
	}{t.key, c.senderName(), protected}
	r, err := jsonRequest("POST", "/register", body)
	if err != nil {
		return identity{}, err
	}
	r.token = token
	answer, err := c.call(ctx, t, r)
	if err != nil {
		if refused(err, 401) && t.key == "" {
			err = fmt.Errorf("%w (give --secret-key)", err)
		}
		return identity{}, fmt.Errorf("register %s: %w", c.senderName(), err)
	}
	var id identity
	if err := json.Unmarshal(answer, &id); err != nil || id.ID == 0 {
		return identity{}, fmt.Errorf("%s is no gateway: it answered a registration without an id", t.url)
	}
	if t.given {
		id.Key = id.hash(t.key)
	}
	if err := c.keep(t, id); err != nil { // works all the same, and registers each time
		fmt.Fprintf(c.err, "watchtower: the registration is not kept: %s\n", describe(err))
	}
	return id, nil
}

func (c *client) cached(t target) (identity, bool, error) {
	dir, err := c.dir()
	if err != nil {
		return identity{}, false, nil // nowhere to keep anything, so nothing is kept
	}
	all, err := readIdentities(dir)
	if errors.Is(err, os.ErrPermission) {
		return identity{}, false, nil // another user's; keep will say so
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
	return writeIdentities(dir, all)
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

// writeIdentities puts the file in place at once, readable by its owner only:
// a command that reads meanwhile finds the old one or the new one.
func writeIdentities(dir string, all identities) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteText(filepath.Join(dir, cacheFile), string(b)+"\n")
}
