package gateway_test

import (
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mayImport says which of the project's packages a package may import. The
// examples stand outside: they are written as a stranger would.
var mayImport = map[string][]string{
	"cmd/watchtower":  {"atomicfile", "gateway", "channelmap", "config", "wire", "wire/frame", "device", "bench", "mdns", "ticker"},
	"gateway":         {"atomicfile", "auth", "backup", "boltfile", "channelmap", "cluster", "cluster/nats", "config", "mqtt", "mqtt/remote", "homeassistant", "udp", "tcp", "history", "irc", "callback", "http", "operator", "console", "sdk", "static", "mdns", "bridge", "wire/frame", "wire/keys", "bridge/store", "mqtt/store", "intake", "ticker"},
	"auth":            {"config", "bridge"},
	"mqtt":            {"config", "auth", "bridge", "bridge/outbound", "eventloop", "intake", "ticker"},
	"http":            {"config", "auth", "bridge", "bridge/jsonline", "bridge/outbound", "callback", "history", "intake"},
	"callback":        {"config", "bridge", "bridge/jsonline", "history", "ticker"},
	"history":         {"config", "bridge", "bridge/outbound"},
	"http/contract":   {},
	"http/fuzz":       {},
	"operator":        {"bridge", "bridge/jsonline", "ticker"},
	"udp":             {"config", "auth", "bridge", "wire", "wire/basic", "wire/frame", "wire/session", "datagram", "intake", "ticker"},
	"tcp":             {"config", "auth", "bridge", "wire", "wire/basic", "wire/frame", "wire/session", "bridge/outbound", "intake"},
	"irc":             {"config", "auth", "bridge", "bridge/outbound", "history", "intake"},
	"wire/basic":      {"config", "bridge", "wire"},
	"wire/session":    {"config", "bridge", "wire", "wire/frame"},
	"wire/frame":      {"wire"},
	"wire/keys":       {"bridge", "wire/frame", "wire/session"},
	"device":          {"wire", "wire/frame"},
	"bench":           {"wire", "wire/frame", "datagram", "bench/processor"},
	"bench/processor": {},
	"bench/attack":    {"bench/target", "device"},
	"bench/growth":    {"bench", "bench/target"},
	"bench/cluster":   {"bench", "bench/target"},
	"bench/remote":    {"bench", "bench/target"},
	"bench/target":    {},
	"bench/bare":      {"wire"},
	"channelmap":      {"bridge", "config"},
	"cluster":         {"bridge", "bridge/outbound"},
	"cluster/nats":    {"bridge", "bridge/outbound", "cluster", "config"},
	"bridge/store":    {"bridge", "boltfile"},
	"mqtt/remote":     {"bridge", "bridge/outbound", "cluster", "config", "eventloop", "intake"},
	"mqtt/store":      {"mqtt", "boltfile"},
	"homeassistant":   {"config", "bridge", "static", "ticker"},
	"boltfile":        {"atomicfile"},
	"backup":          {"atomicfile"},
	"atomicfile":      {},
	"ticker":          {},
	"datagram":        {},
	"mdns":            {"ticker"},
	"packaging":       {},
	"sdk":             {"static"},
	"static":          {},
	"console":         {"static"},
	"bridge":          {"bridge/outbound", "config", "ticker"},
	"intake":          {"config", "auth", "bridge"},
	"wire":            {},
	"bridge/jsonline": {"bridge"},
	"bridge/outbound": {},
	"eventloop":       {"bridge/outbound"},
	"config":          {},

	// For tests: nothing else may import these.
	"internal/harness":         {"bridge", "bridge/outbound", "config", "wire"},
	"internal/harness/browser": {},
	"internal/harness/house":   {"internal/harness", "internal/harness/browser"},
	"internal/arduino":         {},
	"gateway/realhouse":        {},
}

// onlyIn says where a module may be imported by code that is not a test.
var onlyIn = map[string][]string{
	"github.com/mochi-mqtt/server/v2":     {"mqtt", "mqtt/remote"},
	"github.com/gorilla/mux":              {"http"},
	"github.com/ergochat/irc-go":          {"irc"},
	"github.com/nats-io/nats.go":          {"cluster/nats"},
	"github.com/prometheus/client_golang": {"http"},
	"github.com/rs/cors":                  {"http"},
	"go.etcd.io/bbolt":                    {"boltfile", "bridge/store", "mqtt/store"},
	"github.com/spf13/cobra":              {"cmd/watchtower"},
	"github.com/tidwall/gjson":            {"http"},
	"github.com/dchest/siphash":           {"wire/frame"},
	"github.com/goccy/go-yaml":            {"config"},
	"rsc.io/qr":                           {"cmd/watchtower"},
	"golang.org/x/sys":                    {"cmd/watchtower", "datagram", "bench/processor", "bench/bare", "bridge/outbound", "eventloop", "mqtt", "mqtt/remote"},
	"github.com/eclipse/paho.mqtt.golang": {"bench/attack", "bench/growth", "bench/remote"},
	"github.com/stretchr/testify":         {"internal/harness", "internal/harness/browser", "internal/harness/house"},
	"github.com/chromedp/chromedp":        {"internal/harness/browser"},
	"golang.org/x/net/ipv4":               {"mdns"},
	"golang.org/x/net/ipv6":               {"mdns"},

	"github.com/standard-webhooks/standard-webhooks": {"examples/callback"},
	"gitlab.com/gomidi/midi/v2":                      {"examples/garden"},
	"github.com/pb33f/libopenapi":                    {"http/contract"},
	"github.com/pb33f/libopenapi-validator":          {"http/contract"},
}

func TestWhoImportsWhom(t *testing.T) {
	t.Parallel()
	list := exec.Command("go", "list", "-json=ImportPath,Imports", "watchtower/...")
	out, err := list.Output()
	require.NoError(t, err)
	seen := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		err := d.Decode(&p)
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		name := strings.TrimPrefix(p.ImportPath, "watchtower/")
		if strings.HasPrefix(name, "examples/") {
			continue
		}
		allowed, known := mayImport[name]
		require.True(t, known, "%s is not in the table of who may import whom", name)
		seen++
		for _, i := range p.Imports {
			if ours, ok := strings.CutPrefix(i, "watchtower/"); ok {
				assert.True(t, slices.Contains(allowed, ours), "%s imports %s", name, ours)
			}
			for module, places := range onlyIn {
				if i == module || strings.HasPrefix(i, module+"/") {
					assert.Contains(t, places, name, "%s imports %s", name, i)
				}
			}
		}
	}
	assert.Equal(t, len(mayImport), seen)
}
