package gateway_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
)

// terminal is a program in a terminal of its own, of tmux.
type terminal struct {
	t      testing.TB
	socket string
}

// inTerminal runs a command until the test ends. It has an empty home.
func inTerminal(t testing.TB, command ...string) *terminal {
	home := t.TempDir()
	term := &terminal{t, filepath.Join(home, "tmux")}
	term.tmux(append([]string{"-f", "/dev/null", "new-session", "-d", "-x", "150", "-y", "50",
		"env", "HOME=" + home, "TERM=screen", "LANG=C.UTF-8", "TZ=UTC"}, command...)...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(term.screen())
		}
		_ = exec.Command(program(t, "tmux"), "-S", term.socket, "kill-server").Run() //nolint:gosec // the test's own
	})
	return term
}

func (term *terminal) tmux(args ...string) string {
	term.t.Helper()
	c := exec.Command(program(term.t, "tmux"), append([]string{"-u", "-S", term.socket}, args...)...) //nolint:gosec // the test's own
	c.Env = append(os.Environ(), "LANG=C.UTF-8")
	out, err := c.CombinedOutput()
	require.NoError(term.t, err, "%s", out)
	return string(out)
}

func (term *terminal) enter(lines ...string) {
	term.t.Helper()
	for _, line := range lines {
		term.tmux("send-keys", "-l", line)
		term.tmux("send-keys", "Enter")
	}
}

func (term *terminal) screen() string { return term.tmux("capture-pane", "-p") }

func (term *terminal) shows(text string) {
	term.t.Helper()
	eventually(term.t, "it shows "+text, func() bool { return strings.Contains(term.screen(), text) })
}

// garden is a gateway with a channel called watering, and a device there.
func garden(t *testing.T) (r *running, kitchen *device, host, port string) {
	cfg := family(t)
	cfg.Channels = map[uint32]config.Channel{5: {Name: "watering"}}
	r = startWith(t, cfg)
	kitchen = r.paho("kitchen")
	host, port, err := net.SplitHostPort(r.at.IRC)
	require.NoError(t, err)
	return r, kitchen, host, port
}

// Who types into irssi hears devices, speaks to them, and to one of them alone. It signs in as a user, and takes the
// nick that it is given.
func TestIrssi(t *testing.T) {
	t.Parallel()
	r, kitchen, host, port := garden(t)
	settings := filepath.Join(t.TempDir(), "config") // it slows itself down otherwise
	require.NoError(t, os.WriteFile(settings, []byte(`settings = { "irc/core" = { cmds_max_at_once = "100"; }; };`), 0o600))
	irssi := inTerminal(t, program(t, "irssi"), "--config="+settings, "--connect="+host, "--port="+port, "--password=guest:guest-pass", "--nick=anna")
	irssi.shows("messages since the start") // the message of the day
	irssi.enter("/join #watering")
	irssi.shows("kitchen") // among the nicks
	irssi.shows("watering")
	kitchen.broadcast(5, []byte("21.5 °C"))
	kitchen.next(t)
	irssi.shows("< kitchen> 21.5 °C")
	anna, fault := r.g.Hub().Receiver("guest.anna")
	require.Nil(t, fault)
	irssi.enter("open the valve")
	assert.Equal(t, received{uint32(anna), 5, false, "open the valve"}, kitchen.next(t))
	irssi.enter("/me waters")
	assert.Equal(t, received{uint32(anna), 5, false, "waters"}, kitchen.next(t))
	irssi.enter("/query kitchen")
	irssi.shows("[kitchen")
	irssi.enter("on")
	assert.Equal(t, received{uint32(anna), 5, true, "on"}, kitchen.next(t))
	kitchen.send(5, uint32(anna), []byte("it is on"))
	irssi.shows("<kitchen> it is on")
	irssi.enter("/whois kitchen")
	irssi.shows("via mqtt since 2")
	irssi.enter("/nick anna2")
	eventually(t, "the name has changed", func() bool { _, fault := r.g.Hub().Receiver("guest.anna2"); return fault == nil })
	irssi.enter("/quit")
	eventually(t, "it has left", func() bool { n, _ := r.g.Hub().Directory().Counts(); return n[viaIRC] == 0 })
}

// Weechat asks for capabilities, and gets its own lines back from the gateway.
func TestWeechat(t *testing.T) {
	t.Parallel()
	r, kitchen, host, port := garden(t)
	dir := t.TempDir()
	c := exec.Command(program(t, "weechat-headless"), "--dir", dir, "--stdout", //nolint:gosec // the test's own
		"-r", fmt.Sprintf("/server add home %s/%s -notls -password=%s -nicks=anna -autojoin=#5 -capabilities=*", host, port, strings.ReplaceAll(key, " ", `\ `)),
		"-r", "/set irc.server.home.password "+key,
		"-r", "/set irc.server.home.anti_flood 0", "-r", "/set irc.server.home.anti_flood_prio_high 0", "-r", "/set irc.server.home.anti_flood_prio_low 0",
		"-r", "/set logger.file.flush_delay 0", "-r", "/connect home")
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	eventually(t, "it is on channel 5", func() bool { n, _ := r.g.Hub().Directory().Counts(); return n[viaIRC] == 1 })
	logged := func() string {
		b, _ := os.ReadFile(filepath.Join(dir, "logs", "irc.home.#5.weechatlog")) // not there yet
		return string(b)
	}
	kitchen.broadcast(5, []byte("21.5"))
	kitchen.next(t)
	eventually(t, "it hears", func() bool { return strings.Contains(logged(), "\tkitchen\t21.5\n") })
	fifo := fmt.Sprintf("%s/weechat_fifo_%d", dir, c.Process.Pid)
	say := func(buffer, line string) {
		f, err := os.OpenFile(fifo, os.O_WRONLY, 0)
		require.NoError(t, err)
		defer f.Close()
		_, err = fmt.Fprintf(f, "%s *%s\n", buffer, line)
		require.NoError(t, err)
	}
	say("irc.home.#5", "open the valve")
	assert.Equal(t, "open the valve", kitchen.next(t).data)
	eventually(t, "it hears itself once", func() bool { return strings.Count(logged(), "\tanna\topen the valve\n") == 1 })
	say("irc.home.#5", "/msg kitchen on")
	got := kitchen.next(t)
	assert.Equal(t, received{got.from, 5, true, "on"}, got)
	say("core.weechat", "/quit")
	eventually(t, "it has left", func() bool { n, _ := r.g.Hub().Directory().Counts(); return n[viaIRC] == 0 })
}

func TestSic(t *testing.T) {
	t.Parallel()
	_, kitchen, host, port := garden(t)
	sic := inTerminal(t, program(t, "sic"), "-h", host, "-p", port, "-n", "anna", "-k", key)
	sic.shows("messages since the start")
	sic.enter(":j #5")
	sic.shows("kitchen")
	sic.enter("open the valve")
	assert.Equal(t, "open the valve", kitchen.next(t).data)
	kitchen.broadcast(5, []byte("it is open"))
	kitchen.next(t)
	sic.shows("<kitchen> it is open")
}
