// Package store keeps the broker's state on disk, in one bbolt file. It
// implements mqtt.Store, and knows nothing of what a row means.
package store

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/sirupsen/logrus"
	"go.etcd.io/bbolt"

	"watchtower/boltfile"
	"watchtower/mqtt"
)

var buckets = map[mqtt.Table][]byte{
	mqtt.Bodies:   []byte("bodies"),
	mqtt.Sessions: []byte("sessions"),
	mqtt.Queued:   []byte("queued"),
	mqtt.Retained: []byte("retained"),
	mqtt.Received: []byte("received"),
	mqtt.Stamps:   []byte("stamps"),
}

var tables = []mqtt.Table{mqtt.Bodies, mqtt.Sessions, mqtt.Queued, mqtt.Retained, mqtt.Received, mqtt.Stamps}

// metaBucket describes the file itself.
var metaBucket, ownerKey = []byte("meta"), []byte("owner")

// Owner is the gateway that a file belongs to.
type Owner struct {
	Gateway string `json:"gateway"` // its id; empty: it was not noted
	Starts  uint64 `json:"starts"`  // how often the gateway had started then
}

// kind describes the file. A new table, or a change of rows that an older version would
// misunderstand, needs a higher format.
func kind() boltfile.Kind {
	k := boltfile.Kind{What: "MQTT state", Format: 1}
	for _, t := range tables {
		k.Tables = append(k.Tables, buckets[t])
	}
	return k
}

// Store is an mqtt.Store.
type Store struct{ db *boltfile.File }

// Open opens the file, or creates it (boltfile.Open). It renames a damaged file and begins a
// new one: devices publish their retained messages again, and no broker would be worse.
func Open(path string, log *logrus.Logger) (*Store, error) {
	db, err := boltfile.Open(path, kind(), log)
	if errors.Is(err, boltfile.ErrDamaged) {
		aside, failed := boltfile.SetAside(path, "damaged")
		if failed != nil {
			return nil, errors.Join(err, failed)
		}
		log.WithError(err).WithField("kept", aside).Error("MQTT sessions and retained messages are lost: their file is damaged, and a new one begun")
		db, err = boltfile.Open(path, kind(), log)
	}
	if err != nil {
		return nil, err
	}
	return &Store{db: db}, nil
}

// Content describes a file: its owner, and how many sessions and retained messages it has.
type Content struct {
	Owner
	Sessions, Retained int
}

// Inspect reads the content of an existing file, without changing it.
func Inspect(path string) (c Content, err error) {
	count := func(tx *bbolt.Tx, t mqtt.Table) int {
		if b := tx.Bucket(buckets[t]); b != nil {
			return b.Stats().KeyN
		}
		return 0
	}
	err = boltfile.Inspect(path, func(tx *bbolt.Tx) error {
		c.Owner = owner(tx)
		c.Sessions, c.Retained = count(tx, mqtt.Sessions), count(tx, mqtt.Retained)
		return nil
	})
	return c, err
}

func owner(tx *bbolt.Tx) (o Owner) {
	if b := tx.Bucket(metaBucket); b != nil {
		_ = json.Unmarshal(b.Get(ownerKey), &o) // an error: no owner is noted
	}
	return o
}

// Owner returns the gateway that the file belongs to.
func (s *Store) Owner() (o Owner, err error) {
	err = s.db.View(func(tx *bbolt.Tx) error { o = owner(tx); return nil })
	return o, err
}

// Claim notes the gateway that the file belongs to.
func (s *Store) Claim(o Owner) error {
	value, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return s.db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists(metaBucket) // files of older versions have none
		if err != nil {
			return err
		}
		return b.Put(ownerKey, value)
	})
}

// Verify checks a file for later use (boltfile.Verify).
func Verify(path string) error { return boltfile.Verify(path, kind()) }

// Snapshot returns the state that is on disk now (boltfile.Snapshot).
func (s *Store) Snapshot() (*boltfile.Snapshot, error) { return s.db.Snapshot() }

// Fresh reports whether the file was empty before it was opened.
func (s *Store) Fresh() bool { return s.db.Fresh() }

// Healthy returns why the file cannot be written; nil: it can.
func (s *Store) Healthy() error { return s.db.Healthy() }

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// Load calls each for every row. See mqtt.Store.
func (s *Store) Load(each func(t mqtt.Table, key, value []byte) error) error {
	for _, t := range tables {
		if err := s.db.Each(buckets[t], func(k, v []byte) error { return each(t, k, v) }); err != nil {
			return err
		}
	}
	return nil
}

// Commit writes a group in one transaction. See mqtt.Store.
func (s *Store) Commit(rows []mqtt.Row) error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		for _, r := range rows {
			b := tx.Bucket(buckets[r.Table])
			if b == nil {
				return fmt.Errorf("no table %d", r.Table)
			}
			if r.Value == nil {
				if err := b.Delete(r.Key); err != nil {
					return err
				}
				continue
			}
			if err := b.Put(r.Key, r.Value); err != nil {
				return err
			}
		}
		return nil
	})
}
