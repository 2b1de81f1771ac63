package callback_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/oklog/ulid/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bridge"
	"watchtower/callback"
	"watchtower/config"
	"watchtower/history"
	"watchtower/internal/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// gateway is a hub with callbacks, and a sender that speaks on channel 5.
type gateway struct {
	t        testing.TB
	hub      *bridge.Hub
	service  *callback.Service
	speaker  *bridge.Sender
	receiver *httptest.Server
}

// options are the defaults.
func options() callback.Options {
	settings := config.Default()
	return callback.Options{Callbacks: settings.Callbacks, Limits: settings.Limits, DrainTimeout: settings.ShutdownTimeout / 2}
}

// start serves callbacks. take gets what their receiver is posted.
func start(t testing.TB, take func(path, body string), settings ...func(*history.Options, *callback.Options)) *gateway {
	hub, _ := harness.Hub(t, callback.Protocol, bridge.Options{ListedFor: time.Hour, Tree: bridge.NewTree("watchtower", "test")})
	ho, o := history.Options{History: config.Default().History}, options()
	o.Allow = []string{"127.0.0.1"}
	for _, set := range settings {
		set(&ho, &o)
	}
	past := history.New(hub, ho, harness.Silent())
	service, err := callback.New(hub, past, o, harness.Silent())
	require.NoError(t, err)
	g := &gateway{t: t, hub: hub, service: service}
	g.receiver = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		_, _ = b.ReadFrom(r.Body)
		take(r.URL.Path, b.String())
	}))
	t.Cleanup(g.receiver.Close)
	harness.Serve(t, past.Serve, service.Serve)
	g.speaker = hub.Holds().New(func() {}).Sender()
	g.join(g.speaker, "/speaker", "")
	return g
}

// join makes a path of the receiver the callback of a sender on channel 5.
func (g *gateway) join(s *bridge.Sender, path, since string) {
	g.t.Helper()
	j := callback.Join{Sender: s, Channels: []bridge.Channel{5}, URL: g.receiver.URL + path}
	if since != "" {
		from, ok := history.ParseSince(since)
		require.True(g.t, ok)
		j.Since = &from
	}
	secret, fresh, err := g.service.Join(context.Background(), j)
	require.NoError(g.t, err)
	assert.Contains(g.t, secret, "whsec_")
	assert.True(g.t, fresh)
}

func (g *gateway) say(text string, report func(bridge.Report)) ulid.ULID {
	id, err := g.hub.Publish(g.speaker, bridge.Publication{
		Channels: []bridge.Channel{5}, Content: bridge.Content{Data: []byte(text), Hint: bridge.Text}, Wait: true, Report: report,
	})
	assert.NoError(g.t, err)
	return id
}
