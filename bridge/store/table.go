package store

import (
	"fmt"
	"maps"
	"slices"

	"go.etcd.io/bbolt"

	"watchtower/boltfile"
)

// Table is a set of rows in the store's file that belongs to another part of the
// gateway, which alone knows what they mean.
type Table struct {
	db     *boltfile.File
	bucket []byte
}

// Table returns the table of that name, and makes it if there is none.
func (s *Store) Table(name string) (*Table, error) {
	t := &Table{s.db, []byte("table:" + name)}
	there := false
	err := s.db.View(func(tx *bbolt.Tx) error {
		there = tx.Bucket(t.bucket) != nil
		return nil
	})
	if err == nil && !there { // an existing table needs no write: the disk may be full
		err = s.db.Update(func(tx *bbolt.Tx) error {
			_, err := tx.CreateBucketIfNotExists(t.bucket)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("table %s: %w", name, closedError(err))
	}
	return t, nil
}

// Load calls each for every row, in the order of the keys. Each may keep the slices.
func (t *Table) Load(each func(key string, value []byte) error) error {
	return closedError(t.db.Each(t.bucket, func(k, v []byte) error { return each(string(k), v) }))
}

// Commit writes rows by their keys, all or none, and returns when they are on
// disk. A nil value deletes its row.
func (t *Table) Commit(rows map[string][]byte) error {
	return closedError(t.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(t.bucket)
		for _, key := range slices.Sorted(maps.Keys(rows)) { // in order: fewer pages are touched
			err := error(nil)
			if value := rows[key]; value == nil {
				err = b.Delete([]byte(key))
			} else {
				err = b.Put([]byte(key), value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}))
}
