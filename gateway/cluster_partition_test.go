package gateway_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"watchtower/internal/harness"
)

// The network between the machines of three gateways is cut, so that one is alone with its NATS server:
// both sides go on, and heal.
func TestAPartition(t *testing.T) {
	t.Parallel()
	if !harness.Unshared() {
		harness.Unshare(t, []string{"-m"})
		return
	}
	servers := harness.StartNATSApart(t, 3)
	var urls []string
	for i := range 3 {
		urls = append(urls, "nats://"+servers.Address(i))
	}
	b := besiege(t, siegePace, urls...)
	b.goesOn("before")
	registers := func(r *running, name string) (status int) {
		status, _ = r.call("POST", "/register", "application/json", fmt.Sprintf(`{"secret_key":%q,"name":%q}`, key, name))
		return status
	}
	for i, alone := range b.gateways[:partitions] {
		other := b.gateways[(i+1)%3]
		servers.Unplug(i)
		eventually(t, "they are apart", func() bool {
			return !other.meets(alone.cfg.Gateway.Name) && !alone.meets(other.cfg.Gateway.Name)
		})
		b.saysMore()
		eventually(t, "most servers give names", func() bool { return registers(other, fmt.Sprint("many", i)) == 200 })
		eventually(t, "one server gives none", func() bool { return registers(alone, fmt.Sprint("one", i)) == 503 })
		status, _ := alone.call("POST", "/register", "application/json", fmt.Sprintf(`{"secret_key":%q}`, key))
		assert.Equal(t, 200, status, "a registration without a name")
		assert.Equal(t, 200, registers(alone, fmt.Sprint("listener", i)), "a name that is known")
		servers.Plug(i)
		b.goesOn("it heals")
		eventually(t, "it gives names again", func() bool { return registers(alone, fmt.Sprint("one", i)) == 200 })
	}
	b.isOver()
}
