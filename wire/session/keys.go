package session

import (
	"errors"

	"watchtower/bridge"
	"watchtower/wire/frame"
)

// Keys are the keys that tag registrations. Its methods may be called from any goroutine.
type Keys interface {
	// Shared is the key that all devices share. The first call may take some milliseconds.
	Shared() frame.Key
	// Own returns the keys of a name that count now. On is false if names have none: then
	// the option is ignored. An empty name has none.
	Own(name []byte) (keys []OwnKey, on bool)
	// Required reports whether every device needs a key of its own.
	Required() bool
}

// OwnKey is a key of a name.
type OwnKey struct {
	Key frame.Key
	By  bridge.Proof
}

// SharedKey are the keys of a gateway whose devices all share one.
type SharedKey func() frame.Key

// Shared implements Keys.
func (k SharedKey) Shared() frame.Key { return k() }

// Own implements Keys.
func (k SharedKey) Own([]byte) ([]OwnKey, bool) { return nil, false }

// Required implements Keys.
func (k SharedKey) Required() bool { return false }

var errRevoked = errors.New("session: the key was revoked")

// proof finds the key that an r is tagged with.
func (r *Registrar) proof(reg frame.Registration, raw []byte) (psk frame.Key, by bridge.Proof, ok bool) {
	if reg.Options&frame.OwnKey != 0 && len(reg.Name) > 0 {
		if keys, on := r.keys.Own(reg.Name); on {
			for _, k := range keys {
				if k.Key.Verify(raw) {
					return k.Key, k.By, true
				}
			}
			return psk, by, false
		}
	}
	psk = r.keys.Shared()
	return psk, bridge.ByShared, psk.Verify(raw)
}

// counts reports whether the key of a registration still counts.
func (r *Registrar) counts(o *opened) bool {
	keys, _ := r.keys.Own(o.Name)
	for _, k := range keys {
		if k == (OwnKey{o.psk, o.by}) {
			return true
		}
	}
	return false
}

func (r *Registrar) namesHaveKeys() bool {
	_, on := r.keys.Own(nil)
	return on
}

// check returns why an authentic r is refused, or OK. Err is that of its body.
func (r *Registrar) check(f frame.Frame, reg frame.Registration, by bridge.Proof, err error) frame.Code {
	named := len(reg.Name) > 0
	switch {
	case reg.Version != frame.Version && len(f.Body) > 0:
		return frame.NotSupported
	case err != nil, len(reg.Name) > frame.MaxName, named && !bridge.ValidName(string(reg.Name)):
		return frame.BadRequest
	case !named && reg.Options&frame.OwnKey != 0 && r.namesHaveKeys():
		return frame.BadRequest
	case !by.Own() && (r.keys.Required() || named && r.hub.Holds().HasKey(string(reg.Name))):
		return frame.NameHasKey
	}
	return frame.OK
}
