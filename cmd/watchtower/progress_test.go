package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// atTerminal runs the program at a terminal, which script(1) makes, and returns what is seen there.
func (s *served) atTerminal(args string) string {
	s.t.Helper()
	self := s.command()
	cmd := exec.Command("script", "-qec", shellQuote(self.Path)+" "+args, "/dev/null")
	cmd.Env = self.Env
	out, err := cmd.CombinedOutput()
	require.NoError(s.t, err, "%s", out)
	return string(out)
}

// Long work shows at a terminal how much of it is done, and takes that away at its end.
func TestProgressAtATerminal(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), anyPort...)
	file, dir := filepath.Join(t.TempDir(), "house.tar"), t.TempDir()
	for _, args := range []string{"backup " + file, fmt.Sprintf("restore %s --data-dir %s", file, dir), "bench --proto http --warm-up 100ms --duration 300ms"} {
		seen := s.atTerminal(args)
		assert.Contains(t, seen, "\r[", args)
		if !strings.HasPrefix(args, "bench") { // its last moment may be shown or not
			assert.Contains(t, seen, "] 100 %", args)
		}
		_, after, found := strings.Cut(seen, "\r\x1b[K")
		assert.True(t, found, args)
		assert.NotContains(t, after, "[#", args)
		assert.NotEmpty(t, strings.TrimSpace(after), args)
	}
	code, _, err := s.try("backup", file, "--force")
	require.Zero(t, code)
	assert.Empty(t, err, "nothing where there is no terminal")
}
