package gateway_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/internal/harness"
)

// withAdmin lets operators sign in.
func withAdmin(c *config.Config) { c.AdminKey = adminKey }

// clusterNow is an answer to GET /operator/cluster.
type clusterNow struct {
	Space, Name, Server string
	Slot                int
	Fault               *string
	Made, Unsent        uint64
	Others              []struct {
		Slot     int
		Name     string
		Up       bool
		Heard    time.Time
		Ahead    int64 `json:"clock_ahead_ms"`
		Messages uint64
		Lost     uint64
	}
	Leases []struct {
		Name, Holder string
		Since        time.Time
	}
	Sessions map[string]int
}

func (r *running) cluster(token string) (now clusterNow) {
	status, answer := r.operate(token, "GET /operator/cluster", "")
	require.Equal(r.t, 200, status, answer)
	require.NoError(r.t, json.Unmarshal([]byte(answer), &now))
	return now
}

// clusterFault is what /readyz tells, which answers 200 all the same.
func (r *running) clusterFault() string {
	status, answer := r.call("GET", "/readyz", "", "")
	require.Equal(r.t, 200, status, answer)
	var ready struct {
		Fault string `json:"cluster_fault"`
	}
	require.NoError(r.t, json.Unmarshal([]byte(answer), &ready))
	return ready.Fault
}

// Operators see the gateways of a space, and that no server can be reached.
func TestOperatorsSeeTheCluster(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 1, "")
	a, b := together(t, servers.URL(), "a", withAdmin), together(t, servers.URL(), "b", nil)
	meet(t, a, b)
	eventually(t, "the names are known", func() bool { return a.clusterFault() == "" })
	admin := a.asAdmin()
	now := a.cluster(admin)
	assert.Equal(t, "home", now.Space)
	assert.Equal(t, "a", now.Name)
	assert.Equal(t, servers.URL(), now.Server)
	assert.Nil(t, now.Fault)
	require.Len(t, now.Others, 1)
	assert.Equal(t, "b", now.Others[0].Name)
	assert.NotEqual(t, now.Slot, now.Others[0].Slot)
	assert.True(t, now.Others[0].Up)
	assert.WithinDuration(t, time.Now(), now.Others[0].Heard, 30*time.Second)
	assert.Less(t, now.Others[0].Ahead, int64(1000))

	door := b.register("door")
	b.follow("channels=5&sender="+fmt.Sprint(door.ID), func([]byte) {})
	b.post("/broadcast", `{"sender":`+fmt.Sprint(door.ID)+`,"channels":[5],"message":"open"}`, nil)
	eventually(t, "the message is counted", func() bool { return a.cluster(admin).Others[0].Messages == 1 })

	v := &traveller{t: t, id: "mover", next: map[string]int64{}}
	v.goesTo(b, true)
	eventually(t, "the space knows the session", func() bool { return sessionsKept(t, servers.URL()) == 1 })
	assert.True(t, v.goesTo(a, true))
	assert.Equal(t, map[string]int{"here": 1, "waiting": 0, "came": 1, "bare": 0, "adopted": 0, "given": 0}, a.cluster(admin).Sessions)
	v.now.Disconnect(50)
	eventually(t, "the session waits", func() bool { return a.cluster(admin).Sessions["waiting"] == 1 })

	b.stop()
	eventually(t, "b is not up", func() bool { return !a.cluster(admin).Others[0].Up })

	servers.Kill(0)
	eventually(t, "/readyz tells it", func() bool { return strings.Contains(a.clusterFault(), "no NATS server can be reached") })
	now = a.cluster(admin)
	assert.Empty(t, now.Server)
	require.NotNil(t, now.Fault)
	assert.Contains(t, *now.Fault, "no NATS server can be reached")
	_, metrics := a.call("GET", "/metrics", "", "")
	assert.Contains(t, metrics, "\nwatchtower_cluster_ready 0\n")
	assert.Contains(t, metrics, "\nwatchtower_ready 1\n")

	servers.Start(0)
	eventually(t, "it is well again", func() bool { return a.clusterFault() == "" })
	assert.Nil(t, a.cluster(admin).Fault)
	_, metrics = a.call("GET", "/metrics", "", "")
	assert.Contains(t, metrics, "\nwatchtower_cluster_ready 1\n")
}

// While most servers are down, the one that is left takes no names.
func TestReadyTellsOfALostQuorum(t *testing.T) {
	t.Parallel()
	servers := harness.StartNATS(t, 3, "")
	a := together(t, servers.URL(), "a", nil)
	eventually(t, "the names are known", func() bool { return a.clusterFault() == "" })
	servers.Kill(0)
	servers.Kill(1)
	eventually(t, "/readyz tells it", func() bool { return strings.Contains(a.clusterFault(), "keep no new names") })
	servers.Start(0)
	eventually(t, "it is well again", func() bool { return a.clusterFault() == "" })
}
