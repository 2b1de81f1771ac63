//go:build homeassistant

package realhouse

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness/house"
)

var update = flag.Bool("update", false, "write the pictures of docs/home-assistant.md anew")

// guide is docs/home-assistant.md.
func guide(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/home-assistant.md")
	require.NoError(t, err)
	return string(b)
}

// shown returns the code of the guide that is marked <!-- mark -->.
func shown(t testing.TB, mark string) string {
	t.Helper()
	found := regexp.MustCompile("(?s)<!-- " + mark + " -->\\s*```\\w*\n(.*?)\n *```").FindStringSubmatch(guide(t))
	require.NotNil(t, found, mark)
	return found[1]
}

// types runs the code of the guide that is marked so in a shell, as a reader does who is in the
// folder of the program, and returns what it printed until it ended.
func (p *program) types(mark string) *output {
	p.t.Helper()
	out := &output{}
	require.NoError(p.t, p.shell(mark, out).Run(), "%s: %s", mark, out)
	return out
}

// leaves runs it until the test ends, and returns what it prints.
func (p *program) leaves(mark string) *output {
	p.t.Helper()
	out := &output{}
	cmd := p.shell(mark, out)
	require.NoError(p.t, cmd.Start())
	p.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Wait()
	})
	return out
}

func (p *program) shell(mark string, out *output) *exec.Cmd {
	p.t.Helper()
	path, err := build()
	require.NoError(p.t, err)
	if err := os.Symlink(path, filepath.Join(p.dir, "watchtower")); err != nil {
		require.ErrorIs(p.t, err, os.ErrExist)
	}
	cmd := exec.Command("bash", "-e", "-c", shown(p.t, mark))
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, out, out
	cmd.Env = append(os.Environ(), "WATCHTOWER_DATA_DIR="+filepath.Join(p.dir, "data"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd
}

// example reads a YAML file.
func example(t testing.TB, file string) (parsed any) {
	t.Helper()
	b, err := os.ReadFile("../../" + file)
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(b, &parsed))
	return parsed
}

// reader is a gateway and a Home Assistant as the guide's first way makes them.
func reader(t testing.TB) (*program, *house.House) {
	t.Helper()
	_, configuration, found := strings.Cut(guide(t), "gateway: {name: home}\n")
	require.True(t, found)
	configuration, _, _ = strings.Cut(configuration, "```")
	p := start(t, configuration)
	h := house.Open(t)
	h.Join(p.broker())
	return p, h
}

// Whoever follows the guide gets a device, a card and an automation. With -update the pictures
// on the page are written anew.
func TestTheGuide(t *testing.T) {
	p, h := reader(t)
	device, read := p.leaves("joins"), 0
	terminal := func(texts ...string) { // it shows these, one after the other
		t.Helper()
		for _, text := range texts {
			p.eventually("the device's terminal shows "+text, func() bool { return strings.Contains(device.String()[read:], text) })
			read += strings.Index(device.String()[read:], text) + len(text)
		}
	}
	terminal("following channel 5")
	p.types("says")
	h.Shows("sensor.greenhouse_soil", "41")
	h.Shows("light.greenhouse_lamp", "on")
	h.Call("valve.open_valve", "valve.greenhouse_tap", nil)
	terminal("to you: tap open")
	p.types("answers")
	h.Shows("valve.greenhouse_tap", "open")

	page := h.Look("/config/devices/device/"+h.Devices()["Greenhouse"].ID, 740, 580)
	page.Reads("Greenhouse", "Soil moisture", "41%", "Connected via Watchtower home")
	picture(t, "home-assistant-device", page)

	page.Resize(520, 660)
	page.Go(h.Dashboard(example(t, "examples/home-assistant/card.yaml")))
	page.Reads("Greenhouse", "41%", "greenhouse is there, by http")
	picture(t, "home-assistant-card", page)
	page.Press("Press")
	terminal("to you: bell")

	h.Automate("water", example(t, "examples/home-assistant/automation.yaml"))
	p.types("waters")
	terminal("to you: tap open", "The greenhouse gets water.", "to you: tap close")

	p.types("gate")
	h.Shows("binary_sensor.gate_motion", "unknown")
	h.Automate("alarm", map[string]any{"alias": "Alarm", "use_blueprint": map[string]any{
		"path": h.Import("http://" + p.http + "/homeassistant/alarm_when_two_agree.yaml"),
		"input": map[string]any{
			"sensors": []string{"binary_sensor.greenhouse_door", "binary_sensor.gate_motion"},
			"alarm":   []any{map[string]any{"action": "light.turn_on", "target": map[string]any{"entity_id": "light.greenhouse_lamp"}}},
		},
	}})
	p.types("alarms")
	terminal("to you: lamp on")
}

// picture takes the picture of the guide that is named so.
func picture(t *testing.T, name string, page *house.Page) {
	t.Helper()
	taken := page.Picture()
	assert.Less(t, len(taken), 120_000, name)
	file := "../../docs/pictures/" + name + ".webp"
	if *update {
		require.NoError(t, os.WriteFile(file, taken, 0o644))
	}
	assert.FileExists(t, file)
	assert.Contains(t, guide(t), "pictures/"+name+".webp")
}
