//go:build packages

package packaging

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Prometheus itself takes the alerts, and each fires when it should and not otherwise.
func TestPrometheusTakesTheAlerts(t *testing.T) {
	t.Parallel()
	found, err := exec.Command("promtool", "check", "rules", "prometheus/alerts.yaml").CombinedOutput()
	require.NoError(t, err, "%s", found)
	out, err := exec.Command("promtool", "test", "rules", "prometheus/tests.yaml").CombinedOutput()
	require.NoError(t, err, "%s", out)

	alerts, err := os.ReadFile("prometheus/alerts.yaml")
	require.NoError(t, err)
	tests, err := os.ReadFile("prometheus/tests.yaml")
	require.NoError(t, err)
	n := 0
	for line := range strings.SplitSeq(string(alerts), "\n") {
		if _, name, is := strings.Cut(line, "- alert: "); is {
			n++
			assert.Equal(t, 2, strings.Count(string(tests), "alertname: "+name), "%s: once it fires, once not", name)
		}
	}
	assert.Contains(t, string(found), fmt.Sprintf("SUCCESS: %d rules found", n))
}

// Prometheus takes the configuration that the packages have, with the alerts where they are here.
func TestPrometheusTakesItsConfiguration(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("prometheus/prometheus.yaml")
	require.NoError(t, err)
	alerts, err := filepath.Abs("prometheus/alerts.yaml")
	require.NoError(t, err)
	text := strings.ReplaceAll(string(b), "/usr/share/watchtower/prometheus/alerts.yaml", alerts)
	require.NotEqual(t, string(b), text)
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
	out, err := exec.Command("promtool", "check", "config", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.Contains(t, string(out), "SUCCESS: 1 rule files found")
	assert.Regexp(t, `SUCCESS: \d+ rules found`, string(out))
}

// Prometheus takes each expression of the dashboard, with what Grafana puts into it.
func TestPrometheusTakesTheDashboard(t *testing.T) {
	t.Parallel()
	dashboard := read[struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}](t, "grafana/watchtower.json")
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	grafana := strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*")
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			expr := grafana.Replace(target.Expr)
			assert.NotContains(t, expr, "$", p.Title)
			rules = append(rules, rule{"a:b", expr})
		}
	}
	require.NotEmpty(t, rules)
	var groups []map[string]any // one for each, since two of one name count as a fault
	for i, r := range rules {
		groups = append(groups, map[string]any{"name": "g" + string(rune('a'+i)), "rules": []rule{{r.Record + string(rune('a'+i)), r.Expr}}})
	}
	b, err := json.Marshal(map[string]any{"groups": groups})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "rules.yaml")
	require.NoError(t, os.WriteFile(file, b, 0o644))
	out, err := exec.Command("promtool", "check", "rules", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
}
