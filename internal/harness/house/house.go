// Package house runs the real Home Assistant for tests. It lives in the folder that
// .ci/homeassistant makes, a Debian of its own, and is set up and used as a person does it:
// by its config flow, its WebSocket API and its services. Only tests import it; the test
// package is gateway/realhouse, and make test-homeassistant runs it.
//
// Open lends the one Home Assistant of the test process, without MQTT; New starts another.
// At the end of each test its log must have no warning and no error of MQTT.
package house

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// Patience is how long Home Assistant may take for anything.
const Patience = 90 * time.Second

// House is a Home Assistant. Its methods fail the test that has it. It is used by one test
// at a time.
type House struct {
	t      testing.TB
	root   string // the Debian that it lives in
	dir    string // its configuration, and beside that its log
	at     string // host:port of its HTTP server
	token  string // of its owner
	cmd    *exec.Cmd
	ended  chan struct{} // closed once the process has ended
	socket *socket       // nil: not connected

	began   int // where in the log the test began
	allowed []string
	entry   string // id of the MQTT integration; empty: none

	automations map[string]bool // ids of those that the test made
}

var shared *House

// Open returns the one Home Assistant of the process, without MQTT. The first call starts it.
func Open(t testing.TB) *House {
	t.Helper()
	if shared == nil {
		h := create(t)
		h.Start()
		shared = h
	}
	h := shared
	h.begin(t)
	if h.cmd == nil {
		h.Start()
	}
	if h.entry != "" { // the test before stopped it
		h.Forget()
	}
	t.Cleanup(func() {
		if h.entry != "" && h.cmd != nil {
			h.Forget()
		}
		h.finish()
	})
	return h
}

// Close ends the one of Open, if there is one.
func Close() {
	if shared != nil {
		shared.end()
		shared = nil
	}
}

// New starts a Home Assistant that nobody else has, until the test ends.
func New(t testing.TB) *House {
	t.Helper()
	h := create(t)
	h.begin(t)
	t.Cleanup(func() {
		h.finish()
		h.end()
	})
	h.Start()
	return h
}

func (h *House) begin(t testing.TB) {
	h.t, h.began, h.allowed, h.automations = t, len(h.whole()), nil, map[string]bool{}
}

func (h *House) finish() {
	h.t.Helper()
	if words := h.Words(); len(words) > 0 {
		h.t.Errorf("Home Assistant's log speaks of MQTT:\n%s", strings.Join(words, "\n"))
	}
	if h.t.Failed() {
		h.t.Logf("the end of Home Assistant's log:\n%s", tail(h.Log(), 4000))
	}
}

// folder is where Home Assistant is: the variable HOMEASSISTANT, or .homeassistant beside
// the project's go.mod.
func folder(t testing.TB) string {
	root := os.Getenv("HOMEASSISTANT")
	if root == "" {
		out, err := exec.Command("go", "env", "GOMOD").Output()
		require.NoError(t, err)
		root = filepath.Join(filepath.Dir(strings.TrimSpace(string(out))), ".homeassistant")
	}
	ready, err := filepath.Glob(filepath.Join(root, "ready-*"))
	require.NoError(t, err)
	require.NotEmpty(t, ready, "there is no Home Assistant in %s: make test-homeassistant makes one", root)
	return root
}

// Python runs a script with Home Assistant's own Python and packages, and returns what it prints.
func Python(t testing.TB, script, input []byte, args ...string) string {
	t.Helper()
	cmd := exec.Command("/usr/sbin/chroot", append([]string{folder(t), "/venv/bin/python", "-c", string(script)}, args...)...)
	var problem bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(input), &problem
	out, err := cmd.Output()
	require.NoError(t, err, "%s", &problem)
	return string(out)
}

const configuration = `homeassistant: {name: home, latitude: 52, longitude: 13, elevation: 0, unit_system: metric, time_zone: Europe/Berlin, country: DE, currency: EUR}
api:
websocket_api:
config:
onboarding:
frontend:
recorder: {commit_interval: 1}
history:
automation: !include automations.yaml
logger: {default: warning}
`

// webServer is Home Assistant's own record of its HTTP server.
const webServer = `{"version":3,"minor_version":1,"key":"http","data":{"stable":{"server_port":%s,"server_host":["127.0.0.1"],"cors_allowed_origins":[],"login_attempts_threshold":-1,"ip_ban_enabled":false,"ssl_profile":"intermediate_v6","use_x_frame_options":true,"created_at":"2026-01-01T00:00:00+00:00","error":null,"error_message":null},"pending":null,"yaml_migration_done":true}}`

// welcome says that its first pages have been seen, but that for its owner.
const welcome = `{"version":4,"minor_version":1,"key":"onboarding","data":{"done":["core_config","analytics","integration"]}}`

// create makes the configuration of a new Home Assistant.
func create(t testing.TB) *House {
	t.Helper()
	h := &House{t: t, root: folder(t), at: harness.FreeAddress(t)}
	var err error
	h.dir, err = os.MkdirTemp("", "house") // not the test's: it may outlive the test
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(h.at)
	require.NoError(t, err)
	for file, text := range map[string]string{
		"configuration.yaml": configuration, "automations.yaml": "[]\n", ".storage/http": fmt.Sprintf(webServer, port),
		".storage/onboarding": welcome,
	} {
		file = filepath.Join(h.dir, "config", file)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	}
	return h
}

// inside starts hass in its Debian. The mounts are in a namespace of the process, and so
// are gone when it has ended, however it does.
const inside = `set -e
mount --bind /proc "$1/proc"
mount --rbind /dev "$1/dev"
mount --bind "$2" "$1/mnt"
exec env -i PATH=/venv/bin:/usr/bin:/bin HOME=/root LANG=C.UTF-8 /usr/sbin/chroot "$1" /venv/bin/hass --config /mnt --skip-pip --log-no-color`

// Start starts it after Stop or Kill, and returns when it is running.
func (h *House) Start() {
	h.t.Helper()
	log, err := os.OpenFile(h.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	require.NoError(h.t, err)
	defer log.Close()
	h.cmd = exec.Command("unshare", "--mount", "sh", "-c", inside, "house", h.root, filepath.Join(h.dir, "config"))
	h.cmd.Stdout, h.cmd.Stderr = log, log
	h.cmd.SysProcAttr = dies()
	require.NoError(h.t, h.cmd.Start())
	h.ended = make(chan struct{})
	go func(cmd *exec.Cmd, ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(h.cmd, h.ended)
	h.await("its web server answers", func() bool {
		resp, err := http.Get("http://" + h.at + "/manifest.json")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
	if h.token == "" {
		h.onboard()
	} else {
		h.socket = h.connect(h.token)
	}
	h.await("it is running", func() bool {
		var c struct{ State string }
		return h.into(h.Ask("get_config", nil), &c) && c.State == "RUNNING"
	})
}

// Stop stops it in good order.
func (h *House) Stop() {
	h.t.Helper()
	h.hangUp()
	require.NoError(h.t, h.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-h.ended:
	case <-time.After(Patience):
		require.Fail(h.t, "Home Assistant does not stop")
	}
	h.cmd = nil
}

// Kill ends it by SIGKILL.
func (h *House) Kill() {
	h.t.Helper()
	h.hangUp()
	require.NoError(h.t, h.cmd.Process.Kill())
	<-h.ended
	h.cmd = nil
}

// Restart is Stop and Start.
func (h *House) Restart() {
	h.t.Helper()
	h.Stop()
	h.Start()
}

func (h *House) end() {
	h.hangUp()
	if h.cmd != nil {
		_ = h.cmd.Process.Kill()
		<-h.ended
		h.cmd = nil
	}
	_ = os.RemoveAll(h.dir)
}

// onboard makes its owner, as its first page does, and a token that lasts.
func (h *House) onboard() {
	h.t.Helper()
	client := "http://" + h.at + "/"
	var user struct {
		Code string `json:"auth_code"`
	}
	require.True(h.t, h.into(h.request("POST", "/api/onboarding/users", map[string]any{
		"client_id": client, "name": "t", "username": "t", "password": "test-test", "language": "en",
	}), &user))
	form := "grant_type=authorization_code&code=" + user.Code + "&client_id=" + client
	resp, err := http.Post(client+"auth/token", "application/x-www-form-urlencoded", strings.NewReader(form))
	require.NoError(h.t, err)
	defer resp.Body.Close()
	var first struct {
		Token string `json:"access_token"`
	}
	require.NoError(h.t, json.NewDecoder(resp.Body).Decode(&first))
	h.token = first.Token
	h.socket = h.connect(first.Token)
	require.True(h.t, h.into(h.Ask("auth/long_lived_access_token", map[string]any{"client_name": "test", "lifespan": 1}), &h.token))
}

// request is a call of the REST API.
func (h *House) request(method, path string, body any) json.RawMessage {
	h.t.Helper()
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		require.NoError(h.t, err)
		in = bytes.NewReader(b)
	}
	r, err := http.NewRequest(method, "http://"+h.at+path, in)
	require.NoError(h.t, err)
	r.Header.Set("Content-Type", "application/json")
	if h.token != "" {
		r.Header.Set("Authorization", "Bearer "+h.token)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(h.t, err)
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	require.NoError(h.t, err)
	require.Less(h.t, resp.StatusCode, 300, "%s %s: %s", method, path, out)
	return out
}

func (h *House) into(from json.RawMessage, to any) bool {
	h.t.Helper()
	require.NoError(h.t, json.Unmarshal(from, to), "%s", from)
	return true
}

// await looks until something is so.
func (h *House) await(what string, so func() bool) {
	h.t.Helper()
	for late := time.Now().Add(Patience); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(late) {
			require.Fail(h.t, "not so: "+what, tail(h.Log(), 2000))
		}
		select {
		case <-h.ended:
			require.Fail(h.t, "Home Assistant has ended", tail(h.Log(), 2000))
		default:
		}
	}
}
