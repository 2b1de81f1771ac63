package gateway_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"
)

// rootPage finds the root page of a database: its place in the file.
func rootPage(t *testing.T, b []byte) int {
	page := os.Getpagesize()
	field := func(meta, at int) uint64 { return binary.NativeEndian.Uint64(b[meta*page+16+at:]) }
	newest := 0
	if field(1, 48) > field(0, 48) {
		newest = 1
	}
	root := int(field(newest, 16)) * page
	require.Less(t, root, len(b))
	return root
}

// damage returns the damaged bytes of a database.
type damage func(t *testing.T, whole []byte) []byte

func cut(to func(size int) int) damage {
	return func(_ *testing.T, whole []byte) []byte { return whole[:to(len(whole))] }
}

// flip flips a bit at an offset in bytes from the begin of the root page.
func flip(offset int, bit byte) damage {
	return func(t *testing.T, whole []byte) []byte {
		whole[rootPage(t, whole)+offset] ^= bit
		return whole
	}
}

// inValue flips a bit of each place where the text is.
func inValue(text string) damage {
	return func(t *testing.T, whole []byte) []byte {
		require.Contains(t, string(whole), text)
		return bytes.ReplaceAll(whole, []byte(text), append([]byte{text[0] ^ 4}, text[1:]...))
	}
}

// newer makes the file one of a later version.
func newer(t *testing.T, whole []byte) []byte {
	path := filepath.Join(t.TempDir(), "x.db")
	require.NoError(t, os.WriteFile(path, whole, 0o600))
	db, err := bbolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("format")).Put([]byte("format"), []byte("1000"))
	}))
	require.NoError(t, db.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return b
}

// broken are the ways in which a database is damaged.
var broken = map[string]damage{
	"cut to a byte":          cut(func(int) int { return 1 }),
	"cut to half a page":     cut(func(int) int { return os.Getpagesize() / 2 }),
	"cut to a page":          cut(func(int) int { return os.Getpagesize() }),
	"cut to its heads":       cut(func(int) int { return 2 * os.Getpagesize() }),
	"cut to its half":        cut(func(n int) int { return n / 4 }), // bbolt makes files larger than they have to be
	"a page's number":        flip(0, 0x40),
	"a page's kind":          flip(8, 0x01),
	"a page's count":         flip(11, 0x80),
	"a page's length":        flip(14, 0x10),
	"a key's place":          flip(16+5, 0x20),
	"a key's size":           flip(16+8, 0x01),
	"a key's size, by much":  flip(16+11, 0x40),
	"a value's size":         flip(16+12+2, 0x10),
	"the size of a last key": flip(2*16+8, 0x80),
}

func TestADamagedDatabaseOfSendersIsRefused(t *testing.T) {
	t.Parallel()
	was := use(t)
	ways := map[string]damage{"a value": inValue(`{"id":`)}
	for name, d := range broken {
		ways[name] = d
	}
	for name, d := range ways {
		t.Run(name, func(t *testing.T) {
			u := was.copied(t)
			require.NoError(t, os.WriteFile(u.file("watchtower.db"), d(t, u.content("watchtower.db")), 0o600))
			said := u.refuses()
			assert.Contains(t, said, "watchtower.db")
			assert.Contains(t, said, "damaged")
			assert.Contains(t, said, "watchtower restore FILE")
		})
	}
}

func TestADamagedDatabaseOfTheBrokerIsKeptAside(t *testing.T) {
	t.Parallel()
	was := use(t)
	for name, d := range broken {
		t.Run(name, func(t *testing.T) {
			u := was.copied(t)
			bad := d(t, u.content("broker.db"))
			require.NoError(t, os.WriteFile(u.file("broker.db"), bad, 0o600))
			u.start()
			u.says("MQTT sessions and retained messages are lost")
			u.knowsSenders()
			retained, waited := u.hears()
			assert.Empty(t, retained+waited)
			u.end()
			kept, err := filepath.Glob(u.file("broker.db.damaged-*"))
			require.NoError(t, err)
			require.Len(t, kept, 1)
			b, err := os.ReadFile(kept[0])
			require.NoError(t, err)
			assert.True(t, bytes.Equal(bad, b))
		})
	}
	t.Run("a value", func(t *testing.T) {
		u := was.copied(t)
		require.NoError(t, os.WriteFile(u.file("broker.db"), inValue(`{"client":"away"`)(t, u.content("broker.db")), 0o600))
		u.start()
		u.says("some of it belonged to nobody any more, or was damaged")
		u.knowsSenders()
		retained, waited := u.hears()
		assert.Equal(t, "on", retained, "the other rows are as they were")
		assert.Empty(t, waited)
	})
}

func TestADatabaseThatIsMissing(t *testing.T) {
	t.Parallel()
	was := use(t)
	for _, what := range []string{"missing", "empty"} {
		take := func(u *dataDir, name string) {
			require.NoError(t, os.Remove(u.file(name)))
			if what == "empty" {
				require.NoError(t, os.WriteFile(u.file(name), nil, 0o600))
			}
		}
		t.Run(what, func(t *testing.T) {
			u := was.copied(t)
			take(u, "watchtower.db")
			said := u.refuses()
			assert.Contains(t, said, "watchtower.db is "+what)
			assert.Contains(t, said, "broker.db beside it has 1 sessions and 1 retained messages")
			assert.Contains(t, said, "move broker.db away, too, to begin anew")
			require.NoError(t, os.WriteFile(u.file("watchtower.db"), was.content("watchtower.db"), 0o600))
			u.start() // a copy was put back
			u.knowsSenders()
			retained, waited := u.hears()
			assert.Equal(t, "on open", retained+" "+waited)
			u.end()

			take(u, "watchtower.db")
			require.NoError(t, os.Rename(u.file("broker.db"), u.file("kept")))
			u.start() // so somebody has decided
			reg, status := u.register("kitchen")
			assert.Equal(t, 200, status)
			assert.NotEqual(t, u.id, reg.ID)
			u.end()
			require.NoError(t, os.Rename(u.file("kept"), u.file("broker.db")))
			assert.Contains(t, u.refuses(), "broker.db belongs to the gateway")
		})
		t.Run("broker.db "+what, func(t *testing.T) {
			u := was.copied(t)
			take(u, "broker.db")
			u.start()
			u.says("broker.db is missing or empty")
			u.knowsSenders()
			retained, waited := u.hears()
			assert.Empty(t, retained+waited)
		})
	}
}

// A copy of watchtower.db that is put back may be older than the sessions in broker.db.
func TestAnOlderDatabaseOfSendersLosesNothing(t *testing.T) {
	t.Parallel()
	u := &dataDir{process: newProcess(t)}
	u.start()
	u.end()
	older := u.content("watchtower.db")
	u.start()
	assert.NotContains(t, u.out.String(), "older")
	u.paho(awayClient, false).Disconnect(100)
	reg, _ := u.register("kitchen")
	u.id, u.token = reg.ID, reg.Token
	u.end()
	newest := u.content("watchtower.db")
	require.NoError(t, os.WriteFile(u.file("watchtower.db"), older, 0o600))
	u.start()
	u.says("watchtower.db is older than broker.db")
	u.end()
	kept, err := filepath.Glob(u.file("broker.db.kept-*"))
	require.NoError(t, err)
	require.Len(t, kept, 1)
	require.NoError(t, os.Rename(kept[0], u.file("broker.db"))) // so somebody decides
	require.NoError(t, os.WriteFile(u.file("watchtower.db"), newest, 0o600))
	u.start()
	assert.NotContains(t, u.out.String(), "older")
	u.says("sessions=1")
	u.knowsSenders()
}

func TestDatabasesThatCannotBeUsed(t *testing.T) {
	t.Parallel()
	was := use(t)
	for _, name := range []string{"watchtower.db", "broker.db"} {
		t.Run(name+" of a newer version", func(t *testing.T) {
			u := was.copied(t)
			require.NoError(t, os.WriteFile(u.file(name), newer(t, u.content(name)), 0o600))
			said := u.refuses()
			assert.Contains(t, said, name)
			assert.Contains(t, said, "a newer version of Watchtower wrote it (its format is 1000")
		})
		t.Run(name+" in use", func(t *testing.T) {
			u := was.copied(t)
			db, err := bbolt.Open(u.file(name), 0o600, nil)
			require.NoError(t, err)
			defer db.Close()
			assert.Contains(t, u.refuses(), "another gateway uses this data directory")
		})
		t.Run(name+" may not be written", func(t *testing.T) {
			u := was.copied(t)
			u.asNobody()
			require.NoError(t, os.Chmod(u.file(name), 0o400))
			said := u.refuses()
			assert.Contains(t, said, name)
			assert.Contains(t, said, "the user that runs the gateway must be able to read and write it")
		})
	}
	t.Run("another gateway", func(t *testing.T) {
		first := was.copied(t)
		first.start()
		second := &dataDir{process: newProcess(t)}
		second.dir = first.dir
		out, err := second.command().CombinedOutput()
		require.Error(t, err)
		assert.Contains(t, string(out), "another gateway uses this data directory")
		first.knowsSenders()
	})
}

func TestAFullDiskAtTheStart(t *testing.T) {
	t.Parallel()
	u := use(t).copied(t)
	u.startFull()
	u.says("file not written: commands on this machine need --url and --secret-key")
	ready, answer := u.isReady()
	assert.False(t, ready, answer)
	retained, waited := u.hears()
	assert.Equal(t, "on open", retained+" "+waited)
	status, _ := u.ask("GET", fmt.Sprintf("/channels?sender=%d", u.id), u.token, "")
	assert.Contains(t, []int{200, 204}, status)
	u.goesOnWhileFull()
}

func TestADiskThatFillsWhileRunning(t *testing.T) {
	t.Parallel()
	u := use(t).copied(t)
	u.start()
	ready, answer := u.isReady()
	require.True(t, ready, answer)
	u.fillProcess(true)
	u.goesOnWhileFull()
}

// goesOnWhileFull checks that the gateway serves while both databases cannot be written,
// frees the disk, and checks that everything is written then.
func (u *dataDir) goesOnWhileFull() {
	u.t.Helper()
	fill := u.fill
	if fill == nil {
		fill = u.fillProcess
	}
	status := 200
	for n := 0; n < 3000 && status == 200; n++ { // on a real disk there is room in the file for some
		_, status = u.register(fmt.Sprintf("hall%d", n))
	}
	assert.Equal(u.t, 500, status, "it is not on disk")
	c := u.paho("from", true)
	require.NoError(u.t, wait(c.Publish(lampTopic, 1, true, "off")), "no message is stopped")
	for n := range 60 {
		require.NoError(u.t, wait(c.Publish(fmt.Sprintf("much/%d", n), 1, true, make([]byte, 50_000))))
	}
	c.Disconnect(100)
	eventually(u.t, "both are told of", func() bool {
		ready, answer := u.isReady()
		return !ready && strings.Contains(answer, "senders cannot be written to disk") && strings.Contains(answer, "MQTT state cannot be written to disk")
	})
	began := time.Now()
	for time.Since(began) < 2*time.Second { // a second has four groups
		ready, answer := u.isReady()
		require.False(u.t, ready, answer)
		time.Sleep(20 * time.Millisecond)
	}
	for _, what := range []string{"senders not written", "MQTT state not written"} {
		assert.Equal(u.t, 1, strings.Count(u.out.String(), what), "%s", u.out)
	}
	fill(false)
	eventually(u.t, "there is room", func() bool { ready, _ := u.isReady(); return ready })
	for _, what := range []string{"senders written again", "MQTT state written again"} {
		u.says(what)
	}
	if u.move != nil {
		u.move()
	}
	u.kill() // what was said while the disk was full is there
	u.start()
	u.knowsSenders()
	retained, _ := u.hears()
	assert.Equal(u.t, "off", retained)
}
