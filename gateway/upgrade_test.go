package gateway_test

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// earlier is a data directory that an earlier version filled, and what was in it:
// testdata/upgrade/make.py.
type earlier struct {
	*process
	SecretKey string `json:"secret_key"`
	Kitchen   registration
	Safe      registration
	Senders   map[string]uint32
	Callback  string
	Secret    string
	Config    string
}

func unpack(t *testing.T, version string) *earlier {
	e := &earlier{process: newProcess(t)}
	f, err := os.Open(filepath.Join("testdata", "upgrade", version+".tar.gz"))
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	for files := tar.NewReader(z); ; {
		head, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		b, err := io.ReadAll(files)
		require.NoError(t, err)
		if head.Name == "expected.json" {
			require.NoError(t, json.Unmarshal(b, e))
			continue
		}
		require.NoError(t, os.WriteFile(filepath.Join(e.dir, head.Name), b, 0o600))
	}
	// The directory gets older, and nothing of it may end by that.
	config := e.Config + "senders: {expire_after: 36500d, expire_unnamed_after: 36500d}\nmqtt: {will_grace: 2s}\n"
	config = strings.Replace(config, "callbacks: {", "callbacks: {disable_after: 36500d, retry_gap: 1h, max_gap: 2h, ", 1)
	path := filepath.Join(t.TempDir(), "w.yaml")
	require.NoError(t, os.WriteFile(path, []byte(config), 0o600))
	e.key = ""
	e.args = []string{"--config", path}
	return e
}

// listens connects a client, and returns what is said to it, by topic.
func (e *earlier) listens(id, user, password string, clean bool, filters ...string) (heard func(topic string) []string, end func()) {
	var mu sync.Mutex
	said := map[string][]string{}
	o := paho.NewClientOptions().AddBroker("tcp://" + e.mqtt).SetClientID(id).SetUsername(user).SetPassword(password).
		SetCleanSession(clean).SetAutoReconnect(false).SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
		mu.Lock()
		defer mu.Unlock()
		said[m.Topic()] = append(said[m.Topic()], string(m.Payload()))
	})
	c := paho.NewClient(o)
	require.NoError(e.t, wait(c.Connect()), e.out)
	for _, f := range filters {
		require.NoError(e.t, wait(c.Subscribe(f, 1, nil)))
	}
	return func(topic string) []string {
		mu.Lock()
		defer mu.Unlock()
		var all []string
		for t, payloads := range said {
			if t == topic || strings.HasSuffix(topic, "/") && strings.HasPrefix(t, topic) || strings.HasPrefix(topic, "/") && strings.HasSuffix(t, topic) {
				all = append(all, payloads...)
			}
		}
		return all
	}, func() { c.Disconnect(100) }
}

// The earliest version whose data directories anybody may have.
func TestWhatAnEarlierVersionKeptIsThere(t *testing.T) {
	t.Parallel()
	e := unpack(t, "2428111")
	e.start()
	assert.NotContains(t, e.out.String(), "level=error")
	assert.NotContains(t, e.out.String(), "belonged to nobody")

	t.Log("senders, with their names, ids and tokens")
	for _, known := range []registration{e.Kitchen, e.Safe} {
		status, answer := e.ask("GET", fmt.Sprintf("/channels?sender=%d", known.ID), known.Token, "")
		assert.Contains(t, []int{200, 204}, status, answer)
	}
	register := func(name, token string) (registration, int) {
		status, answer := e.ask("POST", "/register", token, fmt.Sprintf(`{"secret_key":%q,"name":%q}`, e.SecretKey, name))
		var reg registration
		_ = json.Unmarshal([]byte(answer), &reg)
		return reg, status
	}
	_, status := register("safe", "")
	assert.NotEqual(t, 200, status, "it is protected")

	t.Log("what waits for a callback, and its secret")
	status, answer := e.ask("GET", fmt.Sprintf("/callbacks?sender=%d", e.Kitchen.ID), e.Kitchen.Token, "")
	require.Equal(t, 200, status, answer)
	var list struct {
		Callbacks []struct {
			URL     string `json:"callback_url"`
			State   string
			Waiting int
		}
	}
	require.NoError(t, json.Unmarshal([]byte(answer), &list))
	require.Len(t, list.Callbacks, 1)
	assert.Equal(t, e.Callback, list.Callbacks[0].URL)
	assert.Equal(t, 1, list.Callbacks[0].Waiting, answer)
	status, answer = e.ask("POST", "/channels/join/async", e.Kitchen.Token, fmt.Sprintf(`{"sender":%d,"channels":[7],"callback_url":%q}`, e.Kitchen.ID, e.Callback))
	assert.Equal(t, 200, status, answer)
	assert.Contains(t, answer, e.Secret)

	t.Log("sessions, what waits for them, what is retained, and wills")
	tablet, end := e.listens("tablet", "ann", "annspassword", false)
	defer end()
	eventually(t, "what waited for the user's session", func() bool { return len(tablet("house/door")) == 3 })
	assert.Equal(t, []string{"knock 0", "knock 1", "knock 2"}, tablet("house/door"))
	watch, end := e.listens("watch", "x", e.SecretKey, true, "#")
	defer end()
	eventually(t, "the will of one who does not come back", func() bool { return len(watch("phone/state")) == 1 })
	assert.Equal(t, []string{"dead"}, watch("phone/state"))
	assert.Equal(t, []string{"on"}, watch("house/lamp"))
	require.Len(t, watch("/5/last"), 1)
	assert.Contains(t, watch("/5/last")[0], "21.5")
	phone, end := e.listens("phone", "x", e.SecretKey, false)
	defer end()
	eventually(t, "what waited for the session", func() bool { return len(phone("house/door")) == 3 && len(phone("watchtower/channels/7/")) == 1 })
	assert.Equal(t, []string{"to seven"}, phone("watchtower/channels/7/"), "it is a member still")

	for name, id := range e.Senders { // names of MQTT and of UDP, too
		token := ""
		if name == "kitchen" {
			token = e.Kitchen.Token
		}
		reg, status := register(name, token)
		assert.Equal(t, 200, status, name)
		assert.Equal(t, id, reg.ID, name)
	}
	reg, status := register("safe", e.Safe.Token)
	assert.Equal(t, 200, status)
	assert.Equal(t, e.Safe.ID, reg.ID)
}
