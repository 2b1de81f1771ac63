package udp_test

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// namespace is a network namespace: a socket that is opened in it stays there.
type namespace string

// newNamespace needs root, and ip from Debian's iproute2.
func newNamespace(t *testing.T, name string) namespace {
	n := namespace(fmt.Sprintf("wt-%s-%d", name, os.Getpid()))
	ip(t, "netns add "+string(n))
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", string(n)).Run() })
	n.ip(t, "link set lo up")
	return n
}

func ip(t *testing.T, args string) {
	t.Helper()
	out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput()
	require.NoError(t, err, "ip %s: %s", args, out)
}

func (n namespace) ip(t *testing.T, args string) {
	t.Helper()
	ip(t, "-n "+string(n)+" "+args)
}

// in calls do in the namespace. If the thread cannot go back, it is thrown away.
func (n namespace) in(t *testing.T, do func()) {
	t.Helper()
	runtime.LockOSThread()
	enter := func(path string) {
		f, err := os.Open(path)
		require.NoError(t, err)
		defer f.Close()
		require.NoError(t, unix.Setns(int(f.Fd()), unix.CLONE_NEWNET))
	}
	home, err := os.Open("/proc/thread-self/ns/net")
	require.NoError(t, err)
	defer home.Close()
	enter("/run/netns/" + string(n))
	do()
	require.NoError(t, unix.Setns(int(home.Fd()), unix.CLONE_NEWNET))
	runtime.UnlockOSThread()
}
