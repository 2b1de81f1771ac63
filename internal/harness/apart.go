package harness

import (
	"fmt"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// StartNATSApart starts servers on machines of their own: namespaces of networks, with a switch
// between them, each with a cable to this one besides, by which its clients reach it. The process was
// started by Unshare with the option -m.
func StartNATSApart(t testing.TB, servers int) *NATS {
	t.Helper()
	must(t, "mount", "-t", "tmpfs", "none", "/run")
	must(t, "ip", "link", "add", "name", "switch", "type", "bridge")
	must(t, "ip", "link", "set", "switch", "up")
	n := &NATS{TB: t}
	for i := range servers {
		s := &natsServer{name: fmt.Sprintf("n%d", i), machine: fmt.Sprintf("m%d", i), dir: t.TempDir()}
		must(t, "ip", "netns", "add", s.machine)
		must(t, "ip", "-n", s.machine, "link", "set", "lo", "up")
		lay(t, s.machine, "lan", fmt.Sprintf("10.80.0.%d/24", i+1))
		must(t, "ip", "link", "set", "lan"+s.machine, "master", "switch")
		lay(t, s.machine, "cord", fmt.Sprintf("10.81.%d.1/24", i))
		must(t, "ip", "addr", "add", fmt.Sprintf("10.81.%d.2/24", i), "dev", "cord"+s.machine)
		s.client, s.route = fmt.Sprintf("10.81.%d.1:4222", i), fmt.Sprintf("10.80.0.%d:6222", i+1)
		n.servers = append(n.servers, s)
	}
	n.begin()
	return n
}

// lay lays a cable from a machine to this one. The ends are what at the machine, and what with the
// machine's name here.
func lay(t testing.TB, machine, what, address string) {
	t.Helper()
	must(t, "ip", "link", "add", "name", what+machine, "type", "veth", "peer", "name", what, "netns", machine)
	must(t, "ip", "-n", machine, "addr", "add", address, "dev", what)
	must(t, "ip", "-n", machine, "link", "set", what, "up")
	must(t, "ip", "link", "set", what+machine, "up")
}

func must(t testing.TB, args ...string) {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	require.NoError(t, err, "%v: %s", args, out)
}

// Unplug cuts a server off from the others, but not from its clients; Plug ends that.
func (n *NATS) Unplug(i int) { must(n, "ip", "link", "set", "lan"+n.servers[i].machine, "down") }

// Plug is Unplug's.
func (n *NATS) Plug(i int) { must(n, "ip", "link", "set", "lan"+n.servers[i].machine, "up") }
