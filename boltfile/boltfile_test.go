package boltfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
)

var bucket = []byte("b")

// written returns a file of many pages.
func written(t *testing.T) []byte {
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := Open(path, bucket)
	require.NoError(t, err)
	for i := range 100 {
		require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
			return tx.Bucket(bucket).Put(binary.BigEndian.AppendUint64(nil, uint64(i*7919%100)), bytes.Repeat([]byte{byte(i)}, 100*(i%100)))
		}))
	}
	require.NoError(t, db.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	return whole
}

// Whatever page is broken: an error, or a file that can be read and written.
func TestABrokenFileIsAnError(t *testing.T) {
	whole := written(t)
	page := os.Getpagesize()
	broken := map[string]int{}
	try := func(what string, content []byte) {
		path := filepath.Join(t.TempDir(), "x.db")
		require.NoError(t, os.WriteFile(path, content, 0o600))
		db, err := Open(path, bucket)
		if err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			require.ErrorContains(t, err, path)
			broken[what]++
			return
		}
		require.NoError(t, db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put([]byte("new"), nil) }))
		require.NoError(t, db.Close())
	}
	for at := 0; at < len(whole); at += page {
		cut := bytes.Clone(whole[:at])
		if at > 0 { // an empty file is a new one
			try("cut", cut)
		}
		garbage := bytes.Clone(whole)
		for i := range page {
			garbage[at+i] = byte(i*31 + 7)
		}
		try("garbage", garbage)
	}
	assert.Greater(t, broken["cut"], len(whole)/page/2)
	assert.Greater(t, broken["garbage"], 10)
	both := bytes.Clone(whole)
	clear(both[:2*page])
	try("both heads", both)
	assert.Equal(t, 1, broken["both heads"])
}

func TestAFileThatCannotBeOpenedIsNotDamaged(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(dir)
	require.Error(t, err)
	assert.False(t, errors.Is(err, ErrDamaged))
	_, err = Open(filepath.Join(dir, "none", "x.db"))
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.NotErrorIs(t, err, ErrDamaged)
}
