package gateway_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
)

// What is done to callbacks while no NATS server can be reached outlives a restart of the gateway, and reaches
// the others when a server is back.
func TestChangesOfCallbacksOutliveARestartWithoutServers(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	a, b := together(t, servers.URL(), "a", withAdmin), together(t, servers.URL(), "b", withAdmin)
	meet(t, a, b)
	p := newReceives(t)
	p.joins(a, "off", "left")
	a.register("late")
	left := a.register("left")
	atA, atB := a.asAdmin(), b.asAdmin()
	b.knows(2, atB)
	a.knows(2, atA)

	servers.Kill(0)
	eventually(t, "there is no server", func() bool { return a.clusterFault() != "" })
	list, _ := a.callbacks(atA, "")
	off := list[slices.IndexFunc(list, func(c shownCallback) bool { return c.Name == "off" })]
	status, answer := a.operate(atA, "POST /operator/callbacks/"+off.Key+"/off", "")
	require.Less(t, status, 300, answer)
	status, answer = a.call("POST", "/channels/leave", "application/json", fmt.Sprintf(`{"sender":%d,"channels":[5]}`, left.ID))
	require.Equal(t, 200, status, answer)
	p.joins(a, "late")
	a.stop()
	a = together(t, servers.URL(), "a", func(c *config.Config) { withAdmin(c); c.DataDir = a.cfg.DataDir })
	atA = a.asAdmin()
	states := func(r *running, token string) string {
		list, _ := r.callbacks(token, "")
		text := ""
		for _, c := range list {
			text += fmt.Sprint(c.Name, " ", c.State, " ", c.Channels, "; ")
		}
		return text
	}
	assert.Contains(t, states(b, atB), "left ok [5]", "it has heard nothing yet")
	servers.Start(0)
	has := func(r *running, token string) func() bool {
		return func() bool {
			list, _ := r.callbacks(token, "")
			found := map[string]string{}
			for _, c := range list {
				found[c.Name] = c.State
			}
			return len(found) == 2 && found["off"] == "off" && found["late"] == "ok"
		}
	}
	if !assert.Eventually(t, has(b, atB), patient, 5*time.Millisecond) || !assert.Eventually(t, has(a, atA), patient, 5*time.Millisecond) {
		t.Log(states(a, atA), "and at b: ", states(b, atB))
	}
	speaker := b.register("speaker")
	b.follow(fmt.Sprintf("channels=5&sender=%d", speaker.ID), func([]byte) {})
	b.post("/broadcast", fmt.Sprintf(`{"sender":%d,"channels":[5],"message":"hello"}`, speaker.ID), nil)
	p.all([]string{"/late"}, "hello")
}
