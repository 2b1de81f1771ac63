package store

import (
	"maps"
	"slices"

	"go.etcd.io/bbolt"
)

// Document is a value of any size in the store, read and written as a whole.
type Document struct {
	store *Store
	key   []byte
}

// Document returns the document of that key. It shares its keys with Meta.
func (s *Store) Document(key string) Document { return Document{s, []byte(key)} }

// Load returns the document, or nil if nothing was saved yet.
func (d Document) Load() (value []byte, err error) {
	err = d.store.db.View(func(tx *bbolt.Tx) error {
		value = slices.Clone(tx.Bucket(metaBucket).Get(d.key))
		return nil
	})
	return value, closedError(err)
}

// Save writes the document. It returns once that is on disk. If it fails, the store tries
// again until it succeeds, or until the next Save.
func (d Document) Save(value []byte) error {
	s := d.store
	s.setLate(d.key, nil)
	err := s.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(d.key, value) })
	if err != nil {
		s.setLate(d.key, append([]byte{}, value...))
		s.signal()
	}
	return closedError(err)
}

// setLate marks a document to be written later; nil removes the mark.
func (s *Store) setLate(key, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if value == nil {
		delete(s.late, string(key))
		return
	}
	if s.late == nil {
		s.late = map[string]*[]byte{}
	}
	s.late[string(key)] = &value
}

func (s *Store) anyLate() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.late) > 0
}

// putLate writes the documents that are late, and returns them. A Save that runs
// meanwhile took its document off the list first, and writes after this transaction.
func (s *Store) putLate(tx *bbolt.Tx) (documents map[string]*[]byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	documents = maps.Clone(s.late)
	for key, value := range documents {
		if err := tx.Bucket(metaBucket).Put([]byte(key), *value); err != nil {
			return nil, err
		}
	}
	return documents, nil
}

// notLate takes written documents off the list.
func (s *Store) notLate(documents map[string]*[]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, value := range documents {
		if s.late[key] == value {
			delete(s.late, key)
		}
	}
}
