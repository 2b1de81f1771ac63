package gateway_test

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

var (
	metric = regexp.MustCompile(`\b(?:watchtower|process|go)_[a-z_]+`)
)

// expressions are those of the alerts and of the dashboard.
func expressions(t *testing.T) (all []string) {
	var alerts struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	b, err := os.ReadFile("../packaging/prometheus/alerts.yaml")
	require.NoError(t, err)
	require.NoError(t, yaml.Unmarshal(b, &alerts))
	for _, r := range alerts.Groups[0].Rules {
		require.NotEmpty(t, r.Expr, r.Alert)
		all = append(all, r.Expr)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	b, err = os.ReadFile("../packaging/grafana/watchtower.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &dashboard))
	for _, p := range dashboard.Panels {
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			all = append(all, target.Expr)
		}
	}
	return all
}

// Every metric and reason that the alerts and the dashboard name is one of a running gateway, be
// it alone or not.
func TestAlertsAndDashboardNameWhatThereIs(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, r := range []*running{start(t, nil), together(t, harness.StartNATS(t, 1, "").URL(), "a", nil)} {
		_, metrics := r.call("GET", "/metrics", "", "")
		for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`).FindAllStringSubmatch(metrics, -1) {
			known[m[1]] = true
			if m[2] == "histogram" {
				known[m[1]+"_bucket"] = true
			}
		}
	}
	reasons, err := os.ReadFile("../docs/http.md")
	require.NoError(t, err)
	found := 0
	for _, e := range expressions(t) {
		for _, name := range metric.FindAllString(e, -1) {
			found++
			assert.True(t, known[name], "%s: no gateway has %s", e, name)
		}
		if m := regexp.MustCompile(`reason=~"([^"]*)"`).FindStringSubmatch(e); m != nil {
			for reason := range strings.SplitSeq(m[1], "|") {
				assert.Contains(t, string(reasons), "`"+reason+"`", e)
			}
		}
	}
	assert.Greater(t, found, 15)
}
