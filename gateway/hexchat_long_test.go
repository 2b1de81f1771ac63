//go:build long

package gateway_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// nobody is a user other than root, whom HexChat refuses.
const nobody = 65534

// HexChat signs in, joins, speaks to the channel and to one device, and writes down what it hears.
func TestLongHexChat(t *testing.T) {
	t.Parallel()
	require.Zero(t, os.Geteuid(), "HexChat runs as another user: only root can start it so")
	r, kitchen, host, port := garden(t)
	home, err := os.MkdirTemp("", "hexchat") //nolint:usetesting // nobody may not go through t.TempDir
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(home) })
	network := fmt.Sprintf("v=2.16.1\n\nN=Home\nP=%s\nL=7\nE=UTF-8 (Unicode)\nF=27\nD=0\nS=%s/%s\nC=JOIN #watering\nC=MSG #5 open the valve\nC=MSG kitchen on\n\n", key, host, port)
	settings := "gui_slist_skip = 1\nirc_nick1 = anna\nirc_logging = 1\nirc_logmask = %c.log\ngui_quit_dialog = 0\n"
	for name, text := range map[string]string{"servlist.conf": network, "hexchat.conf": settings} {
		require.NoError(t, os.WriteFile(filepath.Join(home, name), []byte(text), 0o600))
		require.NoError(t, os.Chown(filepath.Join(home, name), nobody, nobody))
	}
	require.NoError(t, os.Chown(home, nobody, nobody))

	hexchat := exec.Command(program(t, "hexchat"), "--cfgdir="+home) //nolint:gosec // the test's own
	hexchat.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "DISPLAY=" + display(t), "LANG=C.UTF-8"}
	hexchat.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	require.NoError(t, hexchat.Start())
	t.Cleanup(func() { _ = hexchat.Process.Kill(); _ = hexchat.Wait() })

	got := kitchen.next(t)
	assert.Equal(t, received{got.from, 5, false, "open the valve"}, got)
	assert.Equal(t, received{got.from, 5, true, "on"}, kitchen.next(t))
	anna, fault := r.g.Hub().Receiver("anna")
	require.Nil(t, fault)
	assert.Equal(t, uint32(anna), got.from)
	kitchen.broadcast(5, []byte("21.5 °C"))
	kitchen.next(t)
	kitchen.send(5, uint32(anna), []byte("it is on"))
	written := func(text string) func() bool {
		return func() bool {
			logs, err := filepath.Glob(filepath.Join(home, "logs", "*"))
			require.NoError(t, err)
			for _, file := range logs {
				b, err := os.ReadFile(file)
				require.NoError(t, err)
				if strings.Contains(string(b), text) {
					return true
				}
			}
			return false
		}
	}
	for _, text := range []string{"<kitchen>\t21.5 °C", "<kitchen>\tit is on", "Topic for #5 is: watering"} {
		eventually(t, "HexChat shows "+text, written(text))
	}
}

// display starts an X server that shows nothing, and returns its name.
func display(t *testing.T) string {
	t.Helper()
	told, tells, err := os.Pipe()
	require.NoError(t, err)
	defer told.Close()
	x := exec.Command(program(t, "Xvfb"), "-displayfd", "3", "-ac", "-nolisten", "tcp", "-screen", "0", "800x600x24") //nolint:gosec // the test's own
	x.ExtraFiles = []*os.File{tells}
	require.NoError(t, x.Start())
	require.NoError(t, tells.Close())
	t.Cleanup(func() { _ = x.Process.Kill(); _ = x.Wait() })
	number, err := bufio.NewReader(told).ReadString('\n')
	require.NoError(t, err)
	return net.JoinHostPort("", strings.TrimSpace(number))
}
