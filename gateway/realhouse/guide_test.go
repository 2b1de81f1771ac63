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

	"watchtower/internal/harness"
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
	found := regexp.MustCompile("(?s)<!-- " + mark + " -->\\s*```[^\n]*\n(.*?)\n *```").FindStringSubmatch(guide(t))
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
	path := harness.Program(p.t, "cmd/watchtower")
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

// Whoever follows the guide gets a device, a card, an automation and an alarm, by each way. With
// -update the pictures on the page are written anew.
func TestTheGuide(t *testing.T) {
	_, configuration, found := strings.Cut(guide(t), "gateway: {name: home}\n")
	require.True(t, found)
	configuration, _, _ = strings.Cut(configuration, "```")
	for by, broker := range map[string]func(*testing.T, *program) house.Broker{
		"watchtower": func(_ *testing.T, p *program) house.Broker { return p.broker() },
		"mosquitto": func(t *testing.T, p *program) house.Broker {
			return house.Broker{At: mosquitto(t, bridged(t, p, "home"))}
		},
	} {
		t.Run(by, func(t *testing.T) {
			p := start(t, configuration)
			h := house.Open(t)
			h.Join(broker(t, p))
			r := &reader{t: t, p: p, h: h}
			r.makesADevice()
			r.looks(by == "watchtower")
			r.automates()
			r.isAlarmed()
		})
	}
}

// reader follows the guide.
type reader struct {
	t        *testing.T
	p        *program
	h        *house.House
	terminal *output // what the command that connects the device has printed
	read     int     // how much of it has been waited for
}

// sees waits until the terminal shows these texts, one after the other.
func (r *reader) sees(texts ...string) {
	r.t.Helper()
	for _, text := range texts {
		r.p.eventually("the device's terminal shows "+text, func() bool { return strings.Contains(r.terminal.String()[r.read:], text) })
		r.read += strings.Index(r.terminal.String()[r.read:], text) + len(text)
	}
}

func (r *reader) makesADevice() {
	r.t.Helper()
	r.terminal = r.p.leaves("joins")
	r.sees("following channel 5")
	r.p.types("says")
	r.h.Shows("sensor.greenhouse_soil", "41")
	r.h.Shows("light.greenhouse_lamp", "on")
	r.h.Call("valve.open_valve", "valve.greenhouse_tap", nil)
	r.sees("to you: tap open")
	r.p.types("answers")
	r.h.Shows("valve.greenhouse_tap", "open")
}

// looks looks at the pages that the guide shows.
func (r *reader) looks(takes bool) {
	r.t.Helper()
	page := r.h.Look("/config/devices/device/"+r.h.Devices()["Greenhouse"].ID, 740, 580)
	page.Reads("Greenhouse", "Soil moisture", "41%", "Connected via Watchtower home")
	if takes {
		picture(r.t, "home-assistant-device", page)
	}
	page.Resize(520, 660)
	page.Go(r.h.Dashboard(example(r.t, "examples/home-assistant/card.yaml")))
	page.Reads("Greenhouse", "41%", "greenhouse is there, by http")
	if takes {
		picture(r.t, "home-assistant-card", page)
	}
	page.Press("Press")
	r.sees("to you: bell")
}

func (r *reader) automates() {
	r.t.Helper()
	r.h.Automate("water", example(r.t, "examples/home-assistant/automation.yaml"))
	r.p.types("waters")
	r.sees("to you: tap open", "The greenhouse gets water.", "to you: tap close")
}

func (r *reader) isAlarmed() {
	r.t.Helper()
	r.p.types("gate")
	r.h.Shows("binary_sensor.gate_motion", "unknown")
	r.h.Automate("alarm", map[string]any{"alias": "Alarm", "use_blueprint": map[string]any{
		"path": r.h.Import("http://" + r.p.http + "/homeassistant/alarm_when_two_agree.yaml"),
		"input": map[string]any{
			"sensors": []string{"binary_sensor.greenhouse_door", "binary_sensor.gate_motion"},
			"alarm":   []any{map[string]any{"action": "light.turn_on", "target": map[string]any{"entity_id": "light.greenhouse_lamp"}}},
		},
	}})
	r.p.types("alarms")
	r.sees("to you: lamp on")
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
