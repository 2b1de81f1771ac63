package store

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/internal/harness"
	"watchtower/mqtt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ mqtt.Store = (*Store)(nil)

func silent() *logrus.Logger {
	log := harness.Silent()
	return log
}

func load(t *testing.T, s *Store) (all []string) {
	require.NoError(t, s.Load(func(table mqtt.Table, key, value []byte) error {
		all = append(all, fmt.Sprintf("%d %s=%s", table, key, value))
		return nil
	}))
	return all
}

func TestRowsSurviveReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "broker.db")
	s, err := Open(path, silent())
	require.NoError(t, err)
	require.NoError(t, s.Commit([]mqtt.Row{
		{Table: mqtt.Bodies, Key: []byte("b"), Value: []byte("1")}, {Table: mqtt.Queued, Key: []byte("a"), Value: []byte{}},
		{Table: mqtt.Retained, Key: []byte("a"), Value: []byte("2")}, {Table: mqtt.Retained, Key: []byte("b"), Value: []byte("3")},
	}))
	require.NoError(t, s.Commit([]mqtt.Row{
		{Table: mqtt.Retained, Key: []byte("a")}, {Table: mqtt.Retained, Key: []byte("b"), Value: []byte("4")}, {Table: mqtt.Sessions, Key: []byte("none")},
	}))
	require.NoError(t, s.Close())
	s, err = Open(path, silent())
	require.NoError(t, err)
	assert.Equal(t, []string{"1 b=1", "3 a=", "4 b=4"}, load(t, s), "table by table, key by key")
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	_, err = Open(path, silent())
	require.ErrorContains(t, err, "another gateway uses this data directory")
	require.NoError(t, s.Close())
	require.Error(t, s.Commit([]mqtt.Row{{Table: mqtt.Bodies, Key: []byte("b")}}))
}

func TestAGroupIsWrittenWholeOrNotAtAll(t *testing.T) {
	s, err := Open(filepath.Join(t.TempDir(), "broker.db"), silent())
	require.NoError(t, err)
	defer s.Close()
	good := mqtt.Row{Table: mqtt.Bodies, Key: []byte("a"), Value: []byte("1")}
	for _, bad := range []mqtt.Row{{Table: 99, Key: []byte("x"), Value: []byte("x")}, {Table: mqtt.Bodies, Value: []byte("no key")}} {
		require.Error(t, s.Commit([]mqtt.Row{good, bad}))
		assert.Empty(t, load(t, s))
	}
}

func TestADamagedFileIsKeptAsideAndANewOneBegun(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "broker.db")
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("x"), 20_000), 0o600))
	log := logrus.New()
	var said bytes.Buffer
	log.SetOutput(&said)
	s, err := Open(path, log)
	require.NoError(t, err)
	assert.Empty(t, load(t, s))
	require.NoError(t, s.Commit([]mqtt.Row{{Table: mqtt.Bodies, Key: []byte("a"), Value: []byte("1")}}))
	require.NoError(t, s.Close())
	kept, err := filepath.Glob(path + ".damaged-*")
	require.NoError(t, err)
	require.Len(t, kept, 1)
	was, err := os.ReadFile(kept[0])
	require.NoError(t, err)
	assert.Len(t, was, 20_000)
	assert.Contains(t, said.String(), kept[0])
}
