//go:build long

package gateway_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	nethttp "net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// survives starts the program on a database that may be damaged, and returns what
// became of it. Whatever that is, it is said, and nobody's data is gone.
func (u *dataDir) survives(what, name string, bad []byte) (outcome string) {
	require.NoError(u.t, os.WriteFile(u.file(name), bad, 0o600))
	before := u.state()
	cmd := u.command()
	out := &syncBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	require.NoError(u.t, cmd.Start())
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	serves := make(chan struct{})
	go func() { // it ends with the process, or when that serves
		for {
			select {
			case <-ended:
				return
			default:
			}
			if resp, err := nethttp.Get("http://" + u.http + "/healthz"); err == nil {
				resp.Body.Close()
				close(serves)
				return
			}
		}
	}()
	select {
	case <-ended:
		require.Equal(u.t, 1, cmd.ProcessState.ExitCode(), "%s: %s", what, out)
		require.NotContains(u.t, out.String(), "goroutine ", what)
		require.Contains(u.t, out.String(), "damaged", what)
		require.Equal(u.t, "watchtower.db", name, "%s: a damaged broker.db does not stop it: %s", what, out)
		require.Equal(u.t, before, u.state(), what)
		return "refused"
	case <-serves:
	}
	require.NoError(u.t, cmd.Process.Kill())
	<-ended
	require.NotContains(u.t, out.String(), "goroutine ", what)
	kept, err := filepath.Glob(u.file("broker.db.damaged-*"))
	require.NoError(u.t, err)
	if len(kept) == 0 {
		return "used"
	}
	require.Equal(u.t, "broker.db", name, what)
	b, err := os.ReadFile(kept[0])
	require.NoError(u.t, err)
	require.True(u.t, bytes.Equal(bad, b), what)
	return "kept aside"
}

// Each field of each page's head and of its first elements is flipped, and each file
// is cut at each page and at a few places beside.
func TestLongEveryPageOfBothDatabases(t *testing.T) {
	t.Parallel()
	was := use(t)
	page := os.Getpagesize()
	for _, name := range []string{"watchtower.db", "broker.db"} {
		whole := was.content(name)
		outcomes := map[string]int{}
		try := func(what string, bad []byte) {
			outcomes[was.copied(t).survives(name+", "+what, name, bad)]++
		}
		for at := 0; at < len(whole); at += page {
			for _, offset := range []int{0, 7, 8, 9, 10, 11, 12, 15} { // the head
				try(fmt.Sprintf("page %d, byte %d", at/page, offset), flipped(whole, at+offset))
			}
			for offset := 16; offset < 16+3*16; offset += 1 + rand.IntN(3) {
				try(fmt.Sprintf("page %d, byte %d", at/page, offset), flipped(whole, at+offset))
			}
			for _, to := range []int{at, at + 1, at + rand.IntN(page)} {
				if to > 0 {
					try(fmt.Sprintf("cut to %d", to), whole[:to])
				}
			}
		}
		t.Log(name, outcomes)
		assert.Greater(t, outcomes["used"], 0, "a page that nobody uses")
		assert.Greater(t, outcomes["refused"]+outcomes["kept aside"], 20)
	}
}

func flipped(whole []byte, at int) []byte {
	b := bytes.Clone(whole)
	b[at] ^= 1 << rand.IntN(8)
	return b
}

func TestLongRestoresThatAreKilled(t *testing.T) { killRestores(t, 200) }

// A disk of six megabytes, as a file system of its own that no other process sees.
// Prepare is what a shell does there first.
func onASmallDisk(u *dataDir, prepare string) {
	from, at := u.dir, u.t.TempDir()
	u.dir = at
	u.change = func(cmd *exec.Cmd) {
		script := fmt.Sprintf(`mount -t tmpfs -o size=6m tmpfs %q && cp -a %q/. %q && cd %q && { %s; } && exec "$0" "$@"`, at, from, at, at, prepare)
		unshare, err := exec.LookPath("unshare")
		require.NoError(u.t, err)
		cmd.Path, cmd.Args = unshare, append([]string{"unshare", "-rm", "sh", "-c", script}, cmd.Args...)
	}
	u.start()
	u.change = nil
	inside := fmt.Sprintf("/proc/%d/root%s", u.cmd.Process.Pid, at)
	u.fill = func(full bool) {
		filler := filepath.Join(inside, "filler")
		if !full {
			require.NoError(u.t, os.Remove(filler))
			return
		}
		f, err := os.Create(filler)
		require.NoError(u.t, err)
		_, err = io.CopyN(f, rand.NewChaCha8([32]byte{}), 10<<20)
		require.ErrorContains(u.t, err, "no space left on device")
		require.NoError(u.t, f.Close())
	}
	u.move = func() { // the disk goes with the process
		require.NoError(u.t, os.CopyFS(u.dir, os.DirFS(inside)))
	}
}

func TestLongASmallDisk(t *testing.T) {
	t.Parallel()
	was := use(t)
	t.Run("while it runs", func(t *testing.T) {
		u := was.copied(t)
		onASmallDisk(u, "true")
		u.fill(true)
		u.goesOnWhileFull()
	})
	t.Run("at the start", func(t *testing.T) {
		u := was.copied(t)
		onASmallDisk(u, "head -c 10m /dev/zero > filler 2>/dev/null; true")
		retained, waited := u.hears()
		assert.Equal(t, "on open", retained+" "+waited)
		u.goesOnWhileFull()
	})
}
