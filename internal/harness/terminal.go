package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Terminal is a program in a terminal of its own, of tmux.
type Terminal struct {
	testing.TB
	columns, rows int
	socket        string
}

// InTerminal runs a command until the test ends. It has an empty home, unless env names another.
func InTerminal(t testing.TB, columns, rows int, env []string, command ...string) *Terminal {
	t.Helper()
	home := t.TempDir()
	term := &Terminal{t, columns, rows, filepath.Join(home, "tmux")}
	args := []string{"-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(columns), "-y", strconv.Itoa(rows),
		"env", "HOME=" + home, "TERM=screen", "LANG=C.UTF-8", "TZ=UTC"}
	term.tmux(append(append(args, env...), command...)...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(term.Screen())
		}
		_ = exec.Command("tmux", "-S", term.socket, "kill-server").Run() //nolint:gosec // the test's own
	})
	term.tmux("set-option", "status", "off") // its line is one of the program's
	return term
}

func (term *Terminal) tmux(args ...string) string {
	term.Helper()
	c := exec.Command("tmux", append([]string{"-u", "-S", term.socket}, args...)...) //nolint:gosec // the test's own
	c.Env = append(os.Environ(), "LANG=C.UTF-8")
	out, err := c.CombinedOutput()
	require.NoError(term, err, "%s (make setup installs tmux)", out)
	return string(out)
}

// Enter types lines.
func (term *Terminal) Enter(lines ...string) {
	term.Helper()
	for _, line := range lines {
		term.tmux("send-keys", "-l", line)
		term.tmux("send-keys", "Enter")
	}
}

// Screen is what it shows, line by line.
func (term *Terminal) Screen() string { return term.tmux("capture-pane", "-p") }

// Shows waits until it shows a text.
func (term *Terminal) Shows(text string) {
	term.Helper()
	Eventually(term, func() bool { return strings.Contains(term.Screen(), text) }, "it shows "+text)
}
