// Package store keeps the broker's state on disk, in one bbolt file. It
// implements mqtt.Store, and knows nothing of what a row means.
package store

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/sirupsen/logrus"
	"go.etcd.io/bbolt"

	"watchtower/boltfile"
	"watchtower/mqtt"
)

// buckets are the tables, each under a name of its own.
var buckets = map[mqtt.Table][]byte{
	mqtt.Bodies:   []byte("bodies"),
	mqtt.Sessions: []byte("sessions"),
	mqtt.Queued:   []byte("queued"),
	mqtt.Retained: []byte("retained"),
	mqtt.Received: []byte("received"),
}

var tables = []mqtt.Table{mqtt.Bodies, mqtt.Sessions, mqtt.Queued, mqtt.Retained, mqtt.Received}

// Store is an mqtt.Store.
type Store struct{ db *bbolt.DB }

// Open opens the file, or creates it (boltfile.Open). One that is damaged is
// renamed, and a new one takes its place: devices bring back what they retain,
// and a house without its broker is worse off.
func Open(path string, log *logrus.Logger) (*Store, error) {
	var names [][]byte
	for _, t := range tables {
		names = append(names, buckets[t])
	}
	db, err := boltfile.Open(path, names...)
	if errors.Is(err, boltfile.ErrDamaged) {
		aside := path + time.Now().Format(".damaged-20060102-150405")
		if failed := os.Rename(path, aside); failed != nil {
			return nil, errors.Join(err, failed)
		}
		log.WithError(err).WithField("kept", aside).Error("MQTT sessions and retained messages are lost: their file is damaged, and a new one begun")
		db, err = boltfile.Open(path, names...)
	}
	if err != nil {
		return nil, err
	}
	return &Store{db: db}, nil
}

// Close closes the file.
func (s *Store) Close() error { return s.db.Close() }

// Load calls each for every row. See mqtt.Store.
func (s *Store) Load(each func(t mqtt.Table, key, value []byte) error) error {
	return s.db.View(func(tx *bbolt.Tx) error {
		for _, t := range tables {
			err := tx.Bucket(buckets[t]).ForEach(func(k, v []byte) error {
				return each(t, slices.Clone(k), slices.Clone(v)) // what bbolt gives ends with the transaction
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
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
