package store

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
	"go.uber.org/goleak"

	"watchtower/bridge"
	"watchtower/internal/harness"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childVariable); path != "" {
		child(path)
		return
	}
	goleak.VerifyTestMain(m)
}

var _ bridge.Store = (*Store)(nil)

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path, harness.Silent())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

func load(t testing.TB, s *Store) map[bridge.SenderID]bridge.Record {
	t.Helper()
	records, err := s.Load()
	require.NoError(t, err)
	byID := map[bridge.SenderID]bridge.Record{}
	for _, r := range records {
		byID[r.ID] = r
	}
	require.Len(t, byID, len(records))
	return byID
}

func TestRecordsSurviveReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.db")
	want := bridge.Record{
		ID: 1<<32 - 1, Name: "kitchen", Registered: true, Held: true, Protected: true, Token: make([]byte, 32), Seen: 1234567890,
		Kept: []bridge.KeptMembership{{Channel: 5, Address: "http://a.lan/x?y", NoEcho: true}, {Channel: 6, Address: "http://b.lan"}},
	}
	s := open(t, path)
	require.NoError(t, s.Save(want)())
	require.NoError(t, s.Save(bridge.Record{ID: 2, Seen: 1})())
	require.NoError(t, s.Delete(2)())
	s.Save(bridge.Record{ID: 3, Seen: 1}) // nobody waits
	require.NoError(t, s.Close())

	got := load(t, open(t, path))
	assert.Equal(t, map[bridge.SenderID]bridge.Record{want.ID: want, 3: {ID: 3, Seen: 1}}, got)
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

func TestLastWriteWins(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "w.db"))
	for i := range int64(500) {
		s.Save(bridge.Record{ID: 1, Seen: i})
		s.Save(bridge.Record{ID: 2, Seen: i})
		s.Delete(2)
		s.Delete(3)
		s.Save(bridge.Record{ID: 3, Seen: i})
	}
	require.NoError(t, s.Save(bridge.Record{ID: 1, Seen: 500})())
	got := load(t, s)
	assert.Equal(t, map[bridge.SenderID]bridge.Record{1: {ID: 1, Seen: 500}, 3: {ID: 3, Seen: 499}}, got)
}

func TestConcurrentSavesShareGroups(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "w.db"))
	before := commits(s)
	busy, idle := make(chan struct{}), make(chan struct{})
	var disk sync.WaitGroup
	disk.Go(func() {
		assert.NoError(t, s.db.Update(func(*bbolt.Tx) error { close(busy); <-idle; return nil }))
	})
	<-busy
	var wg sync.WaitGroup
	waits := make(chan func() error, 1000)
	for g := range 10 {
		wg.Go(func() {
			for i := range 100 {
				waits <- s.Save(bridge.Record{ID: bridge.SenderID(g*100 + i + 1), Seen: 1})
			}
		})
	}
	wg.Wait() // so Save did not wait for the disk
	close(idle)
	disk.Wait()
	close(waits)
	for wait := range waits {
		require.NoError(t, wait())
	}
	assert.Len(t, load(t, s), 1000)
	assert.LessOrEqual(t, commits(s)-before, 3, "one for hold, one that was being started, one for the rest")
}

// commits counts the transactions by which the file was changed.
func commits(s *Store) int {
	var id int
	_ = s.db.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil })
	return id
}

func TestAfterClose(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "w.db"))
	pending := s.Save(bridge.Record{ID: 1, Seen: 1})
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "again")
	require.NoError(t, pending(), "what was pending is written")
	require.ErrorIs(t, s.Save(bridge.Record{ID: 2})(), ErrClosed)
	require.ErrorIs(t, s.Delete(1)(), ErrClosed)
	_, err := s.Load()
	require.ErrorIs(t, err, ErrClosed)
	_, err = s.Meta("x", func() []byte { return []byte("x") })
	require.ErrorIs(t, err, ErrClosed)
}

func TestSavesDuringClose(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.db")
	s := open(t, path)
	var wg sync.WaitGroup
	var mu sync.Mutex
	acknowledged := map[bridge.SenderID]bool{}
	for g := range 4 {
		wg.Go(func() {
			for i := 1; ; i++ {
				id := bridge.SenderID(g<<20 + i)
				if err := s.Save(bridge.Record{ID: id})(); err != nil {
					assert.ErrorIs(t, err, ErrClosed)
					return
				}
				mu.Lock()
				acknowledged[id] = true
				mu.Unlock()
			}
		})
	}
	require.NoError(t, s.Save(bridge.Record{ID: 1 << 30})())
	require.NoError(t, s.Close())
	wg.Wait()
	got := load(t, open(t, path))
	for id := range acknowledged {
		assert.Contains(t, got, id)
	}
}

// apart runs a test again in a process of its own, in which a limit on files does no harm
// to what `go test` writes. It reports whether this is that process.
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

// full makes the disk full for this process: no file may be written. That needs no
// privilege.
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

func TestWhatAFullDiskDidNotTakeIsWrittenOnceThereIsRoom(t *testing.T) {
	if !apart(t) {
		return
	}
	s := open(t, filepath.Join(t.TempDir(), "w.db"))
	require.NoError(t, s.Save(bridge.Record{ID: 9, Seen: 1})())
	require.NoError(t, s.Healthy())
	empty := full(t)
	require.Error(t, s.Save(bridge.Record{ID: 1, Seen: 1})())
	require.Error(t, s.Save(bridge.Record{ID: 1, Seen: 2})())
	require.Error(t, s.Delete(9)())
	require.ErrorContains(t, s.Healthy(), "senders cannot be written to disk")
	require.Error(t, s.Flush())
	house := s.Document("house")
	require.Error(t, house.Save([]byte("one")))
	require.Error(t, house.Save([]byte("two")))
	empty()
	want := map[bridge.SenderID]bridge.Record{1: {ID: 1, Seen: 2}}
	require.Eventually(t, func() bool { return assert.ObjectsAreEqual(want, load(t, s)) }, 10*time.Second, time.Millisecond, "nobody has to save anything for it")
	require.Eventually(t, func() bool { return s.Healthy() == nil }, 20*time.Second, time.Millisecond)
	require.NoError(t, s.Save(bridge.Record{ID: 2, Seen: 1})())
	value, err := house.Load()
	require.NoError(t, err)
	assert.Equal(t, "two", string(value))
	require.NoError(t, house.Save([]byte("three")))
	require.NoError(t, s.Save(bridge.Record{ID: 2, Seen: 2})())
	value, err = house.Load()
	require.NoError(t, err)
	assert.Equal(t, "three", string(value), "what was late is not written again")
}

func TestAFullDiskAtTheStart(t *testing.T) {
	if !apart(t) {
		return
	}
	path := filepath.Join(t.TempDir(), "w.db")
	s := open(t, path)
	_, err := s.Table("one")
	require.NoError(t, err)
	require.NoError(t, s.Save(bridge.Record{ID: 9, Seen: 1})())
	require.NoError(t, s.Close())
	empty := full(t)
	s = open(t, path)
	assert.Len(t, load(t, s), 1)
	_, err = s.Table("one")
	require.NoError(t, err)
	empty()
}

func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.db")
	open(t, path)
	began := time.Now()
	_, err := Open(path, harness.Silent())
	require.ErrorContains(t, err, "another gateway uses this data directory")
	assert.Less(t, time.Since(began), 20*time.Second, "it does not wait for the other one")
}

func TestNoDirectory(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "none", "w.db"), harness.Silent())
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestNotADatabase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.db")
	require.NoError(t, os.WriteFile(path, []byte(fmt.Sprintf("%10000d", 1)), 0o600))
	_, err := Open(path, harness.Silent())
	require.ErrorContains(t, err, path)
}

func TestDamagedRecordsAreNamed(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "w.db"))
	require.NoError(t, s.Save(bridge.Record{ID: 1, Seen: 1})())
	require.NoError(t, s.db.Update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(sendersBucket)
		for id, text := range map[uint32]string{72: `{"id":72,`, 73: `{"id":1}`} {
			if err := b.Put(binary.BigEndian.AppendUint32(nil, id), []byte(text)); err != nil {
				return err
			}
		}
		return b.Put([]byte("abc"), []byte(`{}`))
	}))
	_, err := s.Load()
	require.ErrorContains(t, err, "the record of sender 72 is damaged")
	require.ErrorContains(t, err, "the record of sender 73 is damaged: it says it is sender 1")
	require.ErrorContains(t, err, "the record of sender 616263 is damaged")
}

func TestMeta(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.db")
	s := open(t, path)
	var wg sync.WaitGroup
	values := make([]string, 10)
	for i := range values {
		wg.Go(func() {
			v, err := s.Meta("name", func() []byte { return fmt.Appendf(nil, "gateway-%d", i) })
			assert.NoError(t, err)
			values[i] = string(v)
		})
	}
	wg.Wait()
	for _, v := range values {
		assert.Equal(t, values[0], v)
	}
	require.NoError(t, s.Close())
	v, err := open(t, path).Meta("name", func() []byte { panic("it is there") })
	require.NoError(t, err)
	assert.Equal(t, values[0], string(v))
}

func benchmarkFile(b *testing.B, n int) string {
	path := filepath.Join(b.TempDir(), "w.db")
	s := open(b, path)
	wait := func() error { return nil }
	for i := range n {
		wait = s.Save(bridge.Record{
			ID: bridge.SenderID(i+1) * 400_000, Name: fmt.Sprintf("sender-%d", i), Registered: true, Token: make([]byte, 32), Seen: 1_700_000_000,
			Kept: []bridge.KeptMembership{{Channel: 5, Address: "http://printer.lan:8080/callback"}},
		})
	}
	require.NoError(b, wait())
	require.NoError(b, s.Close())
	return path
}

// BenchmarkLoad opens and loads 10,000 records: the start of a large gateway.
func BenchmarkLoad(b *testing.B) {
	path := benchmarkFile(b, 10_000)
	for b.Loop() {
		s, err := Open(path, harness.Silent())
		require.NoError(b, err)
		records, err := s.Load()
		require.NoError(b, err)
		require.Len(b, records, 10_000)
		require.NoError(b, s.Close())
	}
}

// BenchmarkSave measures what Save costs a caller that does not wait.
func BenchmarkSave(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "w.db"))
	var id bridge.SenderID
	for b.Loop() {
		id = id%10_000 + 1
		s.Save(bridge.Record{ID: id, Name: "sender", Seen: 1})
	}
}

func TestADocument(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.db")
	s := open(t, path)
	d := s.Document("house")
	value, err := d.Load()
	require.NoError(t, err)
	assert.Nil(t, value)
	large := make([]byte, 1<<20)
	require.NoError(t, d.Save([]byte("small")))
	require.NoError(t, d.Save(large))
	require.NoError(t, s.Close())
	assert.ErrorIs(t, d.Save(nil), ErrClosed)
	_, err = d.Load()
	assert.ErrorIs(t, err, ErrClosed)
	value, err = open(t, path).Document("house").Load()
	require.NoError(t, err)
	assert.Equal(t, large, value)
}
