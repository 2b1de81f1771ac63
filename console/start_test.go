package console_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	permissions "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// codes returns the code of all steps that are shown.
func (p *page) codes() []string {
	p.Helper()
	return evaluate[[]string](p, `[...document.querySelectorAll(".steps pre")].map(e => e.textContent)`)
}

// inBackground runs a command, with all that it starts, until the test ends.
func inBackground(t testing.TB, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	require.NoError(t, err, "%s is missing: make setup installs it", name)
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // all of its group
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	})
}

// What "Get started" shows works as it is copied, and the page says that it was heard.
func TestGetStarted(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.as("ann", "start")
	p.fill("Secret key", secretKey)
	for name, heard := range map[string]string{"curl": "hello from curl", "MQTT": "hello from mosquitto", "JavaScript": `{"hello":"from JavaScript"}`, "Arduino": "hello from an Arduino"} {
		p.goes("channels") // so that it listens anew
		p.goes("start")
		p.press(name)
		p.reads("Waiting for your first message…")
		steps := p.codes()
		require.NotEmpty(t, steps, name)
		switch name {
		case "JavaScript":
			p.do("(async () => {" + strings.Join(steps, "\n") + "})()")
		case "Arduino":
			inBackground(t, compiled(t, steps[0]))
		default:
			inBackground(t, "bash", "-c", strings.Join(steps, "\n")+"\nwait")
		}
		p.reads("Heard. It works.")
		p.reads(heard)
	}
	assert.NotContains(t, evaluate[string](p, `JSON.stringify([{...localStorage}, {...sessionStorage}])`), secretKey, "it is kept nowhere")
}

// compiled makes a sketch into a program for this computer.
func compiled(t testing.TB, sketch string) (program string) {
	t.Helper()
	dir := t.TempDir()
	source, program := filepath.Join(dir, "sketch.cpp"), filepath.Join(dir, "sketch")
	require.NoError(t, os.WriteFile(source, []byte(sketch), 0o600))
	out, err := exec.Command("g++", "-std=c++17", "-Wall", "-Werror", "-I", "testdata/arduino", "-include", "Arduino.h", "-o", program, source).CombinedOutput()
	require.NoError(t, err, "make setup installs g++: %s", out)
	return program
}

// In a dialog too: what is outside of one cannot have the focus.
func TestCopyingInADialog(t *testing.T) {
	t.Parallel()
	r := start(t)
	p := r.as("admin", "devices")
	p.do(`Object.defineProperty(navigator, "clipboard", { value: undefined })`)
	p.do(`document.addEventListener("copy", () => { window.copied = document.activeElement.value })`)
	p.press("New device")
	p.fill("Name of the device", "lamp")
	p.press("Show its key")
	p.press("Copy the digits")
	p.reads("Copied")
	assert.Regexp(t, `^[0-9a-f]{32}$`, evaluate[string](p, "copied"))
	assert.Equal(t, "", evaluate[string](p, `document.querySelector("dialog").innerText.match(/Select it/)?.[0] ?? ""`))
}

// Copying works where a page has a clipboard, and where it has none: over plain HTTP from
// another machine.
func TestCopying(t *testing.T) {
	t.Parallel()
	r := start(t)
	for name, before := range map[string]string{"a secure page": "0", "another": `Object.defineProperty(navigator, "clipboard", { value: undefined })`} {
		p := r.as("lou", "start")
		ask(p, permissions.SetPermission, permissions.SetPermissionParams{ // as a browser with a window does
			Permission: &permissions.PermissionDescriptor{Name: "clipboard-write"}, Setting: permissions.PermissionSettingGranted,
			BrowserContextID: chromedp.FromContext(p.ctx).BrowserContextID,
		})
		p.do(before)
		p.do(`document.addEventListener("copy", () => { window.copied = getSelection().toString() || document.activeElement.value })`)
		p.press("Copy")
		p.reads("Copied")
		if name == "another" {
			assert.Equal(t, p.codes()[0], evaluate[string](p, "copied"))
		}
	}
}
