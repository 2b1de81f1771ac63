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
	"watchtower/internal/harness"
)

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
	irssi := harness.InTerminal(t, 150, 50, nil, program(t, "irssi"), "--config="+settings, "--connect="+host, "--port="+port, "--password=guest:guest-pass", "--nick=anna")
	irssi.Shows("messages since the start") // the message of the day
	irssi.Enter("/join #watering")
	irssi.Shows("kitchen") // among the nicks
	irssi.Shows("watering")
	kitchen.broadcast(5, []byte("21.5 °C"))
	kitchen.next(t)
	irssi.Shows("< kitchen> 21.5 °C")
	anna, fault := r.g.Hub().Receiver("guest.anna")
	require.Nil(t, fault)
	irssi.Enter("open the valve")
	assert.Equal(t, received{uint32(anna), 5, false, "open the valve"}, kitchen.next(t))
	irssi.Enter("/me waters")
	assert.Equal(t, received{uint32(anna), 5, false, "waters"}, kitchen.next(t))
	irssi.Enter("/query kitchen")
	irssi.Shows("[kitchen")
	irssi.Enter("on")
	assert.Equal(t, received{uint32(anna), 5, true, "on"}, kitchen.next(t))
	kitchen.send(5, uint32(anna), []byte("it is on"))
	irssi.Shows("<kitchen> it is on")
	irssi.Enter("/whois kitchen")
	irssi.Shows("via mqtt since 2")
	irssi.Enter("/nick anna2")
	eventually(t, "the name has changed", func() bool { _, fault := r.g.Hub().Receiver("guest.anna2"); return fault == nil })
	irssi.Enter("/quit")
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
	sic := harness.InTerminal(t, 150, 50, nil, program(t, "sic"), "-h", host, "-p", port, "-n", "anna", "-k", key)
	sic.Shows("messages since the start")
	sic.Enter(":j #5")
	sic.Shows("kitchen")
	sic.Enter("open the valve")
	assert.Equal(t, "open the valve", kitchen.next(t).data)
	kitchen.broadcast(5, []byte("it is open"))
	kitchen.next(t)
	sic.Shows("<kitchen> it is open")
}
