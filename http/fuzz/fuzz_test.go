// Package fuzz has the fuzz tests of package http. They are separate from its other tests,
// whose check against the OpenAPI description takes minutes to compile for a fuzzer.
package fuzz

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	nethttp "net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/callback"
	"watchtower/config"
	"watchtower/history"
	"watchtower/http"
	"watchtower/internal/harness"
)

const secretKey = "correct horse"

// bus delivers messages to the hub directly.
type bus struct{ hub *bridge.Hub }

func (b bus) Protocol() bridge.Protocol       { return http.Protocol }
func (b bus) Publish(m *bridge.Message) error { return b.hub.Deliver(m, nil) }
func (b bus) PublishOwn(string, []byte) error { return nil }

func (b bus) PublishRetained(string, []byte) error { return nil }

// start serves an API with a sender that has a stream of channel 5.
func start(f *testing.F) (base string, sender uint32) {
	log := harness.Silent()
	hub, err := bridge.New(bridge.Options{
		SecretKey: secretKey, Limits: config.Default().Limits, Linger: 30 * time.Second, ListedFor: time.Hour,
		Senders: config.Default().Senders, Tree: bridge.NewTree("watchtower", "test"), Log: log,
	})
	require.NoError(f, err)
	hub.SetBus(bus{hub})
	settings := config.Default()
	settings.HTTP.Listen = "127.0.0.1:0"
	past := history.New(hub, history.Options{History: settings.History}, log)
	callbacks, err := callback.New(hub, past, callback.Options{Callbacks: settings.Callbacks, Limits: settings.Limits, DrainTimeout: settings.ShutdownTimeout / 2}, log)
	require.NoError(f, err)
	s := http.New(hub, past, callbacks, http.Options{HTTP: settings.HTTP, Limits: settings.Limits, DrainTimeout: settings.ShutdownTimeout / 2}, log)
	require.NoError(f, s.Listen())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 3)
	for _, serve := range []func(context.Context) error{past.Serve, callbacks.Serve, s.Serve} {
		go func() { done <- serve(ctx) }()
	}
	base = "http://" + s.Addr().String()
	res, err := nethttp.Post(base+"/register", "application/json", bytes.NewReader([]byte(`{"secret_key":"`+secretKey+`"}`)))
	require.NoError(f, err)
	var registered struct{ ID uint32 }
	require.NoError(f, json.NewDecoder(res.Body).Decode(&registered))
	require.NoError(f, res.Body.Close())
	stream, err := nethttp.Get(fmt.Sprintf("%s/channels/join?channels=5&sender=%d", base, registered.ID))
	require.NoError(f, err)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		_, _ = io.Copy(io.Discard, stream.Body)
	}()
	f.Cleanup(func() {
		cancel()
		for range cap(done) {
			require.NoError(f, <-done)
		}
		<-heard
		_ = stream.Body.Close()
		nethttp.DefaultClient.CloseIdleConnections()
	})
	return base, registered.ID
}

func FuzzBodies(f *testing.F) {
	base, id := start(f)
	for _, body := range []string{
		`{"secret_key":"x","name":"lamp","protected":true}`, `{"sender":%d,"channels":[5],"message":{"a":[1]}}`,
		`{"sender":%d,"channels":[5,6],"receivers":[%[1]d],"message":"x"}`, `{"sender":%d,"channels":[5],"receivers":[%[1]d],"message":null}`,
		`{"sender":%d,"channels":[5],"callback_url":"http://127.0.0.1:1/","echo":false}`, `[`, "\xff", `{"sender":1e1}`,
	} {
		for path := range uint8(5) {
			f.Add(path, []byte(fmt.Sprintf(body, id)))
		}
	}
	paths := []string{"/register", "/broadcast", "/send", "/channels/join/async", "/channels/leave"}
	f.Fuzz(func(t *testing.T, path uint8, body []byte) {
		fuzzOne(t, base+paths[int(path)%len(paths)], body)
	})
}

// fuzzOne sends a body to a call: it is taken, or refused with a problem, but never makes
// the gateway fail.
func fuzzOne(t *testing.T, url string, body []byte) {
	res, err := nethttp.Post(url, "", bytes.NewReader(body))
	require.NoError(t, err)
	answer, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	require.NoError(t, res.Body.Close())
	require.Less(t, res.StatusCode, 500, "%s", answer)
	require.True(t, json.Valid(answer), "%s", answer)
	if res.StatusCode == 200 {
		require.Equal(t, "application/json", res.Header.Get("Content-Type"))
		return
	}
	require.Equal(t, "application/problem+json", res.Header.Get("Content-Type"))
	var p struct {
		Type, Title, Detail string
		Status              int
	}
	require.NoError(t, json.Unmarshal(answer, &p))
	require.Equal(t, res.StatusCode, p.Status)
	require.NotEmpty(t, p.Detail)
}
