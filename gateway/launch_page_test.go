//go:build !race

package gateway_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness/browser"
)

// The example's page shows who has turned a key, and that both have.
func TestTheLaunchsPage(t *testing.T) {
	t.Parallel()
	example, _, err := config.Load(nil, []string{"HOME=/"}, "../examples/launch/launch.yaml")
	require.NoError(t, err)
	cfg := launchConfig(t)
	cfg.HTTP.Pages = "../" + example.HTTP.Pages
	r := startWith(t, cfg)
	token := r.shortToken(r.register("").Token, `{"scope":"hear","channels":[9]}`)
	page := browser.Open(t, fmt.Sprintf("http://%s/pages/#%s", r.at.HTTP, token))
	showsIn(t, page, "nobody has turned a key")
	keys := func() []int {
		return browser.Evaluate[[]int](t, page, `[document.querySelectorAll(".turned").length, document.querySelectorAll(".key").length]`)
	}
	carl, _, _ := r.guarded("carl")
	assert.Equal(t, waits(1, 2), carl(9, "go"))
	showsIn(t, page, "1 of 2 until")
	assert.Equal(t, []int{1, 2}, keys())
	r.overMQTT("bob", "bob-pass", "phone")(9, "go")
	showsIn(t, page, "go, the last by bob.phone")
	showsIn(t, page, "Launch")
	assert.Equal(t, []int{2, 2}, keys())

	bare := browser.Open(t, fmt.Sprintf("http://%s/pages/", r.at.HTTP))
	showsIn(t, bare, "no token in the address")
}
