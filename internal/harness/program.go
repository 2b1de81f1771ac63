package harness

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var programs sync.Map // by package: func() (string, error)

// Program returns the path of a program of this module, which is built as people build it: without
// the race detector. Go keeps it in its cache, so that the tests of other packages find it there.
func Program(t testing.TB, pkg string) string {
	t.Helper()
	build, _ := programs.LoadOrStore(pkg, sync.OnceValues(func() (string, error) { return program(pkg) }))
	path, err := build.(func() (string, error))()
	require.NoError(t, err)
	return path
}

// program has Go build a program, and say where it is instead of running it. Once it is new, that
// is a folder which is gone at once; then it is the cache.
func program(pkg string) (path string, err error) {
	for range 2 {
		var said strings.Builder
		cmd := exec.Command("go", "run", "-ldflags=-s", "-exec", "echo", "watchtower/"+pkg)
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil {
			return "", fmt.Errorf("go run %s: %w: %s", pkg, err, &said)
		}
		path = strings.TrimSpace(string(out))
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("go run %s: %s is not kept", pkg, path)
}
