package gateway

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/boltfile"
	"watchtower/bridge"
	"watchtower/bridge/store"
	"watchtower/operator"
	"watchtower/wire/frame"
	"watchtower/wire/keys"
)

// ErrInUse is the error of DeviceKey for a data directory that a gateway uses.
var ErrInUse = boltfile.ErrInUse

// keysDocument is where the masters of the devices' keys are in the store.
const keysDocument = "device_keys"

func (g *Gateway) openKeys() (err error) {
	g.keys, err = keys.Open(g.store.Document(keysDocument), randomKey, keys.Options{
		Mode: g.cfg.Wire.DeviceKeys, Shared: g.deviceKey,
		Unwritten: func(err error) {
			g.log.WithError(err).Error("the master of the devices' keys is not on disk: names get no keys of their own until it can be written")
		},
	})
	return err
}

// endOldKeys ends the sessions whose keys count no more.
func (g *Gateway) endOldKeys() { g.hub.Holds().EndProved(g.keys.Over) }

// deviceSessions returns how many sessions there are, by the kind of their keys.
func (g *Gateway) deviceSessions() map[string]int {
	counts := map[string]int{string(keys.Shared): 0, string(keys.Own): 0, string(keys.Previous): 0}
	for by, n := range g.hub.Directory().Proofs() {
		if kind := g.keys.Kind(by); kind != "" { // else it is just being ended
			counts[string(kind)] += n
		}
	}
	return counts
}

// devices are the devices' keys, as operators see them and change them.
type devices struct{ g *Gateway }

func (d devices) Key(name string) (k operator.DeviceKey, err error) {
	if err := d.may(name); err != nil {
		return k, err
	}
	key, generation, err := d.g.keys.Key(name)
	if err != nil {
		return k, err
	}
	return operator.DeviceKey{Name: name, Generation: int(generation), Hex: key.Hex(), C: key.C()}, nil
}

// may refuses names that cannot have a key.
func (d devices) may(name string) error {
	if d.g.cfg.Wire.DeviceKeys == keys.Off {
		return &bridge.Error{Code: operator.NoDeviceKeys, Detail: "names have no keys of their own here: wire.device_keys is off"}
	}
	if user := d.g.hub.Users().Of(name); user != "" {
		return &bridge.Error{Code: bridge.NameProtected, Field: "name", Detail: fmt.Sprintf("%q belongs to the user %s of the configuration", bridge.Shorten(name), user)}
	}
	return nil
}

func (d devices) Revoke(name string) (generation, ended int, err error) {
	if err := d.may(name); err != nil {
		return 0, 0, err
	}
	next, err := d.g.keys.Revoke(name)
	if err != nil {
		return 0, 0, err
	}
	return int(next), d.g.hub.Holds().EndOwn(name), nil
}

func (d devices) Rotate(until time.Time) (ended int, err error) {
	if d.g.cfg.Wire.DeviceKeys == keys.Off {
		return 0, d.may("")
	}
	if err := d.g.keys.Rotate(randomKey(), until); err != nil {
		return 0, err
	}
	return d.g.hub.Holds().EndProved(d.g.keys.Over), nil
}

func (d devices) Status() operator.DeviceKeys {
	now := d.g.keys.Status()
	s := operator.DeviceKeys{Mode: now.Mode, Sessions: d.g.deviceSessions(), Revoked: map[string]int{}}
	if !now.Until.IsZero() {
		s.PreviousUntil = &now.Until
	}
	for name, generation := range now.Revoked {
		s.Revoked[name] = int(generation)
	}
	return s
}

func (d devices) Kind(by bridge.Proof) string { return string(d.g.keys.Kind(by)) }

// DeviceKey returns the own key of a device from the data directory of a gateway that is
// stopped, and its generation.
func DeviceKey(dir, name string, log *logrus.Logger) (key frame.Key, generation byte, err error) {
	if gone, err := boltfile.Missing(filepath.Join(dir, storeFile)); err != nil || gone {
		return key, 0, fmt.Errorf("no gateway was started with the data directory %s: name its own with --data-dir, or give --url", dir)
	}
	unlock, err := boltfile.LockDir(dir)
	if err != nil {
		return key, 0, err
	}
	defer unlock()
	kept, err := store.Open(filepath.Join(dir, storeFile), log)
	if err != nil {
		return key, 0, err
	}
	if ring, failed := keys.Open(kept.Document(keysDocument), nil, keys.Options{Mode: keys.Accepted}); failed != nil {
		err = failed
	} else {
		key, generation, err = ring.Key(name)
	}
	return key, generation, errors.Join(err, kept.Close())
}
