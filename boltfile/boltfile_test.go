package boltfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"watchtower/internal/harness"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	bucket = []byte("b")
	small  = []byte("small")
	what   = Kind{What: "rows", Tables: [][]byte{bucket, small}, Format: 2}
)

func silent() *logrus.Logger {
	log := harness.Silent()
	return log
}

func put(key, value []byte) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(key, value) }
}

// written returns a file of many pages, with branches, long values and free pages.
func written(t testing.TB) []byte {
	path := filepath.Join(t.TempDir(), "x.db")
	f, err := Open(path, what, silent())
	require.NoError(t, err)
	for round := range 10 {
		require.NoError(t, f.Update(func(tx *bbolt.Tx) error {
			for i := round; i < 100; i += 10 {
				key := binary.BigEndian.AppendUint64(nil, uint64(i*7919%100))
				if err := tx.Bucket(bucket).Put(key, bytes.Repeat([]byte{byte(i)}, 50*(i%100))); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	require.NoError(t, f.Update(func(tx *bbolt.Tx) error {
		for i := range 30 {
			if err := tx.Bucket(bucket).Delete(binary.BigEndian.AppendUint64(nil, uint64(i*3))); err != nil {
				return err
			}
		}
		return tx.Bucket(small).Put([]byte("k"), []byte("v"))
	}))
	require.NoError(t, f.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	c := checker{file: bytes.NewReader(whole)}
	require.NoError(t, c.readMetas())
	return whole[:c.pages*c.pageSize] // without the unused rest, which bbolt allocates
}

// use opens a file with that content, and reads and writes it as a store does.
func use(t *testing.T, content []byte) (opened bool) {
	path := filepath.Join(t.TempDir(), "x.db")
	defer os.Remove(path)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	f, err := Open(path, what, silent())
	if err != nil {
		require.True(t, errors.Is(err, ErrDamaged) || errors.Is(err, ErrNewer), "%v", err)
		require.ErrorContains(t, err, path)
		now, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(content, now), "it stays as it is")
		return false
	}
	for _, table := range what.Tables {
		require.NoError(t, f.Each(table, func(_, _ []byte) error { return nil }))
	}
	require.NoError(t, f.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucket)
		for i := range 300 {
			if err := b.Put(binary.BigEndian.AppendUint64(nil, uint64(i)), make([]byte, 50)); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, f.Close())
	return true
}

// A broken page is an error, or leaves a file that can be read and written.
func TestABrokenFileIsAnError(t *testing.T) {
	whole := written(t)
	require.True(t, use(t, whole))
	page := os.Getpagesize()
	broken := map[string]int{}
	try := func(what string, content []byte) {
		if !use(t, content) {
			broken[what]++
		}
	}
	for at := 0; at < len(whole); at += page {
		if at > 0 { // an empty file is a new one
			try("cut", whole[:at])
			try("cut", whole[:at-1])
		}
		garbage := bytes.Clone(whole)
		for i := range page {
			garbage[at+i] = byte(i*31 + 7)
		}
		if _, err := check(bytes.NewReader(garbage), int64(len(garbage))); err != nil || at%(20*page) == 0 { // else a free page
			try("garbage", garbage)
		}
	}
	assert.Greater(t, broken["cut"], len(whole)/page)
	assert.Greater(t, broken["garbage"], 10)
	both := bytes.Clone(whole)
	clear(both[:2*page])
	try("both heads", both)
	assert.Equal(t, 1, broken["both heads"])
}

// One bit flips: in the head of each page, in its first elements with their key sizes, or
// anywhere else.
func TestABitThatFlipsNeverCrashes(t *testing.T) {
	whole := written(t)
	page := os.Getpagesize()
	noticed, unnoticed := 0, 0
	flip := func(at, bit int) {
		content := bytes.Clone(whole)
		content[at] ^= 1 << bit
		_, err := check(bytes.NewReader(content), int64(len(content)))
		if err != nil {
			require.ErrorIs(t, err, ErrDamaged)
			noticed++
			return
		}
		if unnoticed++; unnoticed%20 == 0 { // a free page, or a value, of which Open may know more
			t.Logf("byte %d, bit %d: opened: %v", at, bit, use(t, content))
		}
	}
	for at := 2 * page; at < len(whole); at += page {
		for range 8 {
			flip(at+rand.IntN(headBytes+2*elementBytes), rand.IntN(8))
		}
	}
	assert.Greater(t, noticed, 100)
	for range 200 {
		flip(rand.IntN(len(whole)), rand.IntN(8))
	}
}

func TestAFileThatCannotBeOpenedIsNotDamaged(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(dir, what, silent())
	require.Error(t, err)
	assert.False(t, errors.Is(err, ErrDamaged))
	_, err = Open(filepath.Join(dir, "none", "x.db"), what, silent())
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.NotErrorIs(t, err, ErrDamaged)
}

func TestAFileOfANewerVersionIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	newer := what
	newer.Format = 3
	f, err := Open(path, newer, silent())
	require.NoError(t, err)
	assert.True(t, f.Fresh())
	require.NoError(t, f.Close())
	_, err = Open(path, what, silent())
	require.ErrorIs(t, err, ErrNewer)
	require.ErrorContains(t, err, "its format is 3, this one knows 2")
	f, err = Open(path, newer, silent())
	require.NoError(t, err)
	assert.False(t, f.Fresh())
	require.NoError(t, f.Close())
}

// A file of an older format gets the new format and the new tables. A file of this format
// that has lost a table is damaged.
func TestTablesOfAFormat(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := bbolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket(bucket); return err }))
	require.NoError(t, db.Close())
	f, err := Open(path, what, silent())
	require.NoError(t, err)
	require.NoError(t, f.Each(small, func(_, _ []byte) error { return nil }))
	require.NoError(t, f.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket(small) }))
	require.NoError(t, f.Close())
	_, err = Open(path, what, silent())
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, `"small"`)
}

// apart reports whether this process is the test's own one. If not, it runs the test again
// in such a process, which can limit its file size without harm to what `go test` writes.
func apart(t *testing.T) bool {
	if os.Getenv(apartVariable) == t.Name() {
		return true
	}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), apartVariable+"="+t.Name())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	return false
}

const apartVariable = "WATCHTOWER_TEST_APART"

// full makes this process find a full disk: its limit on the size of files becomes 0, for
// which it needs no privilege. Empty ends that.
func full(t *testing.T) (empty func()) {
	var before syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	none := before
	none.Cur = 0
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &none))
	empty = func() { require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before)) }
	t.Cleanup(empty)
	return empty
}

func TestAFullDisk(t *testing.T) {
	if !apart(t) {
		return
	}
	path := filepath.Join(t.TempDir(), "x.db")
	require.NoError(t, os.WriteFile(path, written(t), 0o600))
	log := logrus.New()
	var said bytes.Buffer
	log.SetOutput(&said)
	empty := full(t)
	f, err := Open(path, what, log)
	require.NoError(t, err, "nothing has to be written to open what is there")
	defer f.Close()
	require.NoError(t, f.Healthy())
	for range 20 {
		require.Error(t, f.Update(put([]byte("new"), make([]byte, 1000))))
	}
	require.ErrorContains(t, f.Healthy(), "rows cannot be written to disk")
	assert.Equal(t, 1, strings.Count(said.String(), "rows not written: trying again"), said.String())
	require.NoError(t, f.Each(bucket, func(_, _ []byte) error { return nil }))
	empty()
	require.Eventually(t, func() bool { return f.Healthy() == nil }, 20*time.Second, 10*time.Millisecond)
	require.NoError(t, f.Update(put([]byte("new"), []byte("1"))))
	require.NoError(t, f.Close())
	assert.ErrorIs(t, f.Update(put(nil, nil)), bolterrors.ErrDatabaseNotOpen)
	assert.NoError(t, f.Healthy())
	assert.Contains(t, said.String(), "rows written again")
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, use(t, content))
}

func TestAPanicOfTheCallersIsNoDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	require.NoError(t, os.WriteFile(path, written(t), 0o600))
	f, err := Open(path, what, silent())
	require.NoError(t, err)
	defer f.Close()
	assert.PanicsWithValue(t, "mine", func() { _ = f.Each(bucket, func(_, _ []byte) error { panic("mine") }) })
}

func TestALockedDirectory(t *testing.T) {
	dir := t.TempDir()
	release, err := LockDir(dir)
	require.NoError(t, err)
	began := time.Now()
	_, err = LockDir(dir)
	require.ErrorContains(t, err, "another gateway uses this data directory")
	assert.Less(t, time.Since(began), 20*time.Second, "it does not wait for the other one")
	release()
	release, err = LockDir(dir)
	require.NoError(t, err)
	release()
}

// BenchmarkCheck measures the check of a file of 100 MB, as at every start.
func BenchmarkCheck(b *testing.B) {
	path := filepath.Join(b.TempDir(), "x.db")
	f, err := Open(path, what, silent())
	require.NoError(b, err)
	for i := range 100 {
		require.NoError(b, f.Update(func(tx *bbolt.Tx) error {
			for j := range 2000 {
				if err := tx.Bucket(bucket).Put(binary.BigEndian.AppendUint64(nil, uint64(i*2000+j)), make([]byte, 480)); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	require.NoError(b, f.Close())
	file, err := os.Open(path)
	require.NoError(b, err)
	defer file.Close()
	info, err := file.Stat()
	require.NoError(b, err)
	b.SetBytes(info.Size())
	b.ReportAllocs()
	for b.Loop() {
		_, err := check(file, info.Size())
		require.NoError(b, err)
	}
}
