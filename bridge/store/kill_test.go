package store

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/internal/harness"
)

// childVariable makes the test binary a process that writes to the store of
// that path until it is killed.
const childVariable = "WATCHTOWER_STORE_CHILD"

const childWriters = 8

// child saves and deletes without end, and prints what was acknowledged:
// "s <id> <number>" for a record, "d <id>" for a deletion.
func child(path string) {
	s, err := Open(path, harness.Silent())
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var wg sync.WaitGroup
	for g := range childWriters {
		wg.Go(func() {
			for n := int64(1); ; n++ {
				keep := bridge.SenderID(g + 1)
				if s.Save(bridge.Record{ID: keep, Seen: n})() == nil {
					fmt.Printf("s %d %d\n", keep, n)
				}
				gone := bridge.SenderID(1000 + int64(g)<<20 + n)
				s.Save(bridge.Record{ID: gone})
				if s.Delete(gone)() == nil {
					fmt.Printf("d %d\n", gone)
				}
			}
		})
	}
	wg.Wait()
}

func TestKilledAtAnyMomentLosesNothingAcknowledged(t *testing.T) {
	program, err := os.Executable()
	require.NoError(t, err)
	for range 8 {
		path := filepath.Join(t.TempDir(), "w.db")
		saved, deleted := map[bridge.SenderID]int64{}, map[bridge.SenderID]bool{}

		cmd := exec.Command(program)
		cmd.Env = append(os.Environ(), childVariable+"="+path)
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(out)
		until := 20 + rand.IntN(200)
		for n := 0; lines.Scan(); n++ {
			var id bridge.SenderID
			var number int64
			if _, err := fmt.Sscanf(lines.Text(), "s %d %d", &id, &number); err == nil {
				saved[id] = max(saved[id], number)
			} else if _, err := fmt.Sscanf(lines.Text(), "d %d", &id); err == nil {
				deleted[id] = true
			} else {
				t.Errorf("the child said %q", lines.Text())
			}
			if n == until {
				require.NoError(t, cmd.Process.Kill()) // SIGKILL; what it printed before is still read
			}
		}
		require.Error(t, cmd.Wait(), "killed")
		require.NotEmpty(t, saved)

		got := load(t, open(t, path))
		for id, number := range saved {
			assert.GreaterOrEqual(t, got[id].Seen, number, "sender %d", id)
		}
		for id := range deleted {
			assert.NotContains(t, got, id)
		}
	}
}
