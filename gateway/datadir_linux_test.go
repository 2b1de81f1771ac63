package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	nethttp "net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// dataDir is a data directory that somebody has used: a sender with a name and a token,
// a retained message, and a session with a message that waits.
type dataDir struct {
	*process
	id    uint32
	token string
	fill  func(full bool) // its disk, once it runs; nil: fillProcess
	move  func()          // its files to where they are found after its end; nil: they are
}

const (
	awayClient = "away"
	lampTopic  = "house/lamp"
	waitTopic  = "house/door"
)

func (p *process) paho(id string, clean bool) paho.Client {
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + p.mqtt).SetClientID(id).SetUsername("x").SetPassword(key).
		SetCleanSession(clean).SetAutoReconnect(false))
	require.NoError(p.t, wait(c.Connect()), p.out)
	return c
}

// ask makes a request, with a token if there is one.
func (p *process) ask(method, path, token, body string) (int, string) {
	req, err := nethttp.NewRequest(method, "http://"+p.http+path, strings.NewReader(body))
	require.NoError(p.t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := web.Do(req)
	require.NoError(p.t, err, p.out)
	defer res.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(res.Body)
	require.NoError(p.t, err)
	return res.StatusCode, b.String()
}

func (p *process) register(name string) (registration, int) {
	status, answer := p.ask("POST", "/register", "", fmt.Sprintf(`{"secret_key":%q,"name":%q}`, key, name))
	var reg registration
	if status == 200 {
		require.NoError(p.t, json.Unmarshal([]byte(answer), &reg))
	}
	return reg, status
}

// use fills a new data directory, as clients would.
func use(t *testing.T) *dataDir {
	u := &dataDir{process: newProcess(t)}
	u.start()
	reg, status := u.register("kitchen")
	require.Equal(t, 200, status)
	u.id, u.token = reg.ID, reg.Token
	away := u.paho(awayClient, false)
	require.NoError(t, wait(away.Subscribe(waitTopic, 1, nil)))
	away.Disconnect(100)
	c := u.paho("from", true)
	require.NoError(t, wait(c.Publish(lampTopic, 1, true, "on")))
	require.NoError(t, wait(c.Publish(waitTopic, 1, false, "open")))
	c.Disconnect(100)
	u.end()
	return u
}

// end stops it by SIGTERM.
func (p *process) end() {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(p.t, p.cmd.Wait(), p.out)
	p.cmd = nil
}

// copied is the same directory once more, for damage.
func (u *dataDir) copied(t *testing.T) *dataDir {
	c := &dataDir{process: newProcess(t), id: u.id, token: u.token}
	require.NoError(t, os.CopyFS(c.dir, os.DirFS(u.dir)))
	return c
}

func (u *dataDir) file(name string) string { return filepath.Join(u.dir, name) }

func (u *dataDir) content(name string) []byte {
	b, err := os.ReadFile(u.file(name))
	require.NoError(u.t, err)
	return b
}

// knowsSenders checks that the token of before works, and that the name has its id.
func (u *dataDir) knowsSenders() {
	u.t.Helper()
	status, answer := u.ask("GET", fmt.Sprintf("/channels?sender=%d", u.id), u.token, "")
	assert.Contains(u.t, []int{200, 204}, status, answer)
	reg, status := u.register("kitchen")
	assert.Equal(u.t, 200, status)
	assert.Equal(u.t, u.id, reg.ID)
}

// hears returns what is retained, and what waited for the session.
func (u *dataDir) hears() (retained, waited string) {
	u.t.Helper()
	heard := make(chan paho.Message, 10)
	o := paho.NewClientOptions().AddBroker("tcp://" + u.mqtt).SetClientID(awayClient).SetUsername("x").SetPassword(key).SetCleanSession(false).
		SetAutoReconnect(false).SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { heard <- m })
	c := paho.NewClient(o)
	require.NoError(u.t, wait(c.Connect()))
	defer c.Disconnect(100)
	require.NoError(u.t, wait(c.Subscribe(lampTopic, 1, nil)))
	require.NoError(u.t, wait(c.Subscribe("end", 1, nil)))
	require.NoError(u.t, wait(c.Publish("end", 1, false, "")))
	for {
		select {
		case m := <-heard:
			switch m.Topic() {
			case lampTopic:
				retained = string(m.Payload())
			case waitTopic:
				waited = string(m.Payload())
			default:
				return retained, waited
			}
		case <-time.After(patient):
			require.Fail(u.t, "nothing is heard")
		}
	}
}

// refuses starts the program, and returns its output when it ended. The directory must not
// have changed.
func (u *dataDir) refuses() string {
	u.t.Helper()
	before := u.state()
	cmd := u.command()
	out, err := cmd.CombinedOutput()
	require.Error(u.t, err, "it was to refuse: %s", out)
	require.Equal(u.t, 1, cmd.ProcessState.ExitCode(), "%s", out)
	assert.NotContains(u.t, string(out), "goroutine ")
	assert.Equal(u.t, before, u.state(), "nothing is renamed, removed or written")
	return string(out)
}

// state is what the directory holds.
func (u *dataDir) state() map[string]string {
	files := map[string]string{}
	entries, err := os.ReadDir(u.dir)
	require.NoError(u.t, err)
	for _, e := range entries {
		files[e.Name()] = string(u.content(e.Name()))
	}
	return files
}

// asNobody makes the program run as a user who owns only its directory: root may also write
// to files that are read-only.
func (u *dataDir) asNobody() {
	if os.Getuid() != 0 {
		return
	}
	const nobody = 65534
	above := filepath.Dir(u.dir)
	require.NoError(u.t, os.Chmod(above, 0o711)) // it was made for root alone
	b, err := os.ReadFile(u.path)
	require.NoError(u.t, err)
	u.path = filepath.Join(above, "watchtower")
	require.NoError(u.t, os.WriteFile(u.path, b, 0o755))
	entries, err := os.ReadDir(u.dir)
	require.NoError(u.t, err)
	for _, e := range entries {
		require.NoError(u.t, os.Chown(u.file(e.Name()), nobody, nobody))
	}
	require.NoError(u.t, os.Chown(u.dir, nobody, nobody))
	u.change = func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
}

// fillProcess makes the disk full for the running program: no file of its may be written
// from its first byte on. That works for every user and in every container, where a
// small disk of its own needs a privilege; and of a disk, too, a program sees only that
// its writes fail. TestLongASmallDisk has a disk.
func (p *process) fillProcess(full bool) {
	limit := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if full {
		limit.Cur = 0
	}
	require.NoError(p.t, unix.Prlimit(p.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil))
}

// startFull starts the program on a full disk.
func (u *dataDir) startFull() {
	u.change = func(cmd *exec.Cmd) {
		cmd.Path, cmd.Args = "/bin/sh", append([]string{"sh", "-c", `ulimit -S -f 0; exec "$0" "$@"`}, cmd.Args...)
	}
	u.start()
	u.change = nil
}

func (u *dataDir) isReady() (bool, string) {
	status, answer := u.ask("GET", "/readyz", "", "")
	return status == 200, answer
}
