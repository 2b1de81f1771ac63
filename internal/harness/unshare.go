package harness

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const unshared = "WATCHTOWER_TEST_UNSHARED" // set in a process that Unshare started

// Unshared reports whether this process is one that Unshare started.
func Unshared() bool { return os.Getenv(unshared) != "" }

// Unshare runs the test once more, in a process with namespaces of its own: of users, so that it
// is root there; of networks, in which only the loopback is up and every port is free; and the
// options of unshare(1) name others. It needs no privilege where users may make namespaces.
func Unshare(t *testing.T, options []string, env ...string) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	args := append([]string{"-r", "-n"}, options...)
	pattern := "^" + strings.ReplaceAll(t.Name(), "/", "$/^") + "$"
	args = append(args, "sh", "-c", `ip link set lo up && exec "$@"`, "sh", self, "-test.v", "-test.run", pattern, "-test.timeout", "5m")
	cmd := exec.Command("unshare", args...)
	cmd.Env = append(append(os.Environ(), unshared+"=1"), env...)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "--- PASS: "+t.Name()+" ")
}
