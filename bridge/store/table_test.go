package store

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTablesSurviveReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.db")
	rows := func(s *Store, name string) map[string]string {
		table, err := s.Table(name)
		require.NoError(t, err)
		all := map[string]string{}
		require.NoError(t, table.Load(func(k string, v []byte) error { all[k] = string(v); return nil }))
		return all
	}
	s := open(t, path)
	one, err := s.Table("one")
	require.NoError(t, err)
	require.NoError(t, one.Commit(map[string][]byte{"a": []byte("1"), "b": []byte("2"), "c": {}}))
	require.NoError(t, one.Commit(map[string][]byte{"a": nil, "b": []byte("3"), "none": nil}))
	assert.Error(t, one.Commit(map[string][]byte{"d": []byte("4"), "": []byte("a key that bbolt refuses")}))
	require.NoError(t, s.Close())
	assert.ErrorIs(t, one.Commit(map[string][]byte{"d": []byte("4")}), ErrClosed)
	s = open(t, path)
	assert.Equal(t, map[string]string{"b": "3", "c": ""}, rows(s, "one"), "all or nothing")
	assert.Empty(t, rows(s, "two"))
}
