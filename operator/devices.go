package operator

import (
	nethttp "net/http"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// Devices are the keys of devices' own (docs/protocol.md, "Keys of their own").
type Devices interface {
	// Key returns the present key of a name.
	Key(name string) (DeviceKey, error)
	// Revoke makes the keys of a name count no more, and returns the generation of the next
	// one, and how many sessions ended.
	Revoke(name string) (generation, ended int, err error)
	// Rotate makes a new master. Keys made from the one before count until a time.
	Rotate(until time.Time) (ended int, err error)
	// Status returns what there is to see.
	Status() DeviceKeys
	// Kind says what let a device in: shared, own, previous; empty: none of these.
	Kind(bridge.Proof) string
}

// DeviceKey is the key of a name.
type DeviceKey struct {
	Name       string `json:"name"`
	Generation int    `json:"generation"`
	Hex        string `json:"hex"`
	C          string `json:"c"`
}

// DeviceKeys is what there is to see of the devices' keys, none of which is in it.
type DeviceKeys struct {
	Mode          string         `json:"mode"`
	Sessions      map[string]int `json:"sessions"`                 // by what let them in
	PreviousUntil *time.Time     `json:"previous_until,omitempty"` // keys of the master before count until then; nil: none do
	Revoked       map[string]int `json:"revoked"`                  // the generations of names whose keys were revoked
}

// mostOverlap is the longest time for which two masters count.
const mostOverlap = 400 * 24 * time.Hour

// showDeviceKeys answers GET /operator/device-keys.
func (s *Service) showDeviceKeys(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	return s.answer(w, s.opts.Devices.Status())
}

// showOwnKey answers GET /operator/devices/{id}/key.
func (s *Service) showOwnKey(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	key, err := s.opts.Devices.Key(r.id)
	if err != nil {
		return err
	}
	s.did(r, "operator was shown a device's key", logrus.Fields{"name": key.Name, "generation": key.Generation})
	return s.answer(w, key)
}

// revokeKey answers POST /operator/devices/{id}/revoke, once that is on disk.
func (s *Service) revokeKey(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	if _, err := readObject(w, r.Request); err != nil {
		return err
	}
	generation, ended, err := s.opts.Devices.Revoke(r.id)
	if err != nil {
		return err
	}
	s.did(r, "operator revoked a device's key", logrus.Fields{"name": r.id, "generation": generation, "ended": ended})
	return s.answer(w, struct {
		Name       string `json:"name"`
		Generation int    `json:"generation"`
		Ended      int    `json:"ended"`
	}{r.id, generation, ended})
}

// rotateKeys answers POST /operator/device-keys/rotate, once that is on disk.
func (s *Service) rotateKeys(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	body, err := readObject(w, r.Request, "until")
	if err != nil {
		return err
	}
	text, err := body.text("until")
	if err != nil {
		return err
	}
	until, err := time.Parse(time.RFC3339, text)
	if err != nil || until.After(s.opts.Now().Add(mostOverlap)) {
		return fault(invalidField, "until", "must be a time such as 2026-12-29T00:00:00Z, at most 400 days from now")
	}
	ended, err := s.opts.Devices.Rotate(until)
	if err != nil {
		return err
	}
	s.did(r, "operator rotated the devices' keys", logrus.Fields{"until": until.UTC().Format(time.RFC3339), "ended": ended})
	return s.answer(w, s.opts.Devices.Status())
}
