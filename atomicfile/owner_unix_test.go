//go:build unix

package atomicfile_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/atomicfile"
)

// What root writes into a service's directory is the service's. Everybody else's files are their own.
func TestAFileBelongsToWhomItsDirectoryBelongs(t *testing.T) {
	dir, want := t.TempDir(), os.Geteuid()
	if want == 0 {
		want = 12345
		require.NoError(t, os.Chown(dir, want, want))
	}
	owner := func(name string) int {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		return int(info.Sys().(*syscall.Stat_t).Uid)
	}
	require.NoError(t, atomicfile.WriteOwned(filepath.Join(dir, "cli.json"), "{}"))
	assert.Equal(t, want, owner("cli.json"))
	require.NoError(t, atomicfile.WriteText(filepath.Join(dir, "house.tar"), "secrets"))
	assert.Equal(t, os.Geteuid(), owner("house.tar"), "a backup belongs to who makes it")
}
