package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// untilSaid runs the program beside the gateway until it prints a text.
func (s *served) untilSaid(text string, args ...string) (out string) {
	s.t.Helper()
	for end := time.Now().Add(harness.Patience); ; time.Sleep(50 * time.Millisecond) {
		code, out, err := s.try(args...)
		if code == 0 && strings.Contains(out, text) {
			return out
		}
		require.True(s.t, time.Now().Before(end), "%d: %s%s", code, out, err)
	}
}

// inSpace serves a program in a space of its own name.
func inSpace(t *testing.T, servers *harness.NATS, name string) *served {
	return serveProgram(t, t.TempDir(), append(slices.Clone(anyPort), "--cluster-url", servers.URL(), "--gateway-name", name, "--secret-key", "the same at both")...)
}

func TestClusterOnTheCommandLine(t *testing.T) {
	servers := harness.StartNATS(t, 1, "")
	a, b := inSpace(t, servers, "attic"), inSpace(t, servers, "cellar")
	for s, other := range map[*served]string{a: "cellar", b: "attic"} {
		shown := s.untilSaid(other+" ", "cluster")
		assert.Contains(t, shown, "of the space home: connected to "+servers.URL())
		assert.Regexp(t, `(?m)^MQTT sessions here: \d+, waiting for their clients: 0, came from others: 0, without all that waited: 0, adopted: 0, given to others: 0$`, shown)
		assert.Regexp(t, `(?m)^NAME +SLOT +STATE +BEHIND +CLOCK +MESSAGES +RESENT +LOST +REPEATED$`, shown)
		assert.Regexp(t, `(?m)^`+other+` +\d+ +up +\d+ B +[+-]\d+ ms +0 +0 +0 +0$`, shown)
	}
	leases := a.untilSaid("LEASE ", "cluster")
	assert.Regexp(t, `(?m)^LEASE +HOLDER +PART +SINCE$`, leases)
	assert.Regexp(t, `(?m)^cb +attic +\d+ of \d+ +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d$`, a.untilSaid("cb     attic", "cluster"))
	code, out, err := a.try("cluster", "--json")
	require.Zero(t, code, err)
	var now shownCluster
	require.NoError(t, json.Unmarshal([]byte(out), &now))
	assert.Equal(t, "home", now.Space)
	require.Len(t, now.Others, 1)
	assert.Equal(t, "cellar", now.Others[0].Name)

	servers.Kill(0)
	assert.Contains(t, a.untilSaid("but apart", "health", "--ready"), " is ready, but apart from the other gateways: no NATS server can be reached")
	assert.Contains(t, a.untilSaid("cluster_fault", "health", "--ready", "--json"), `"ready":true`)
	assert.Contains(t, a.untilSaid("no NATS server", "cluster"), "of the space home: no NATS server can be reached")
	a.untilSaid("silent since ", "cluster")
}

func TestAGatewayThatIsAloneSaysSo(t *testing.T) {
	s := serveProgram(t, t.TempDir(), anyPort...)
	code, out, err := s.try("cluster")
	assert.Equal(t, exitError, code)
	assert.Empty(t, out)
	assert.Contains(t, err, "this gateway is alone")
	code, out, err = s.try("health", "--ready")
	assert.Zero(t, code, err)
	assert.True(t, strings.HasSuffix(out, " is ready\n"), out)
}
