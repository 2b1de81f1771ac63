package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"watchtower/mdns"
	"watchtower/wire"
)

// announcedPorts are the services that a gateway announces, and what its ports are called.
var announcedPorts = map[string]string{
	"_watchtower._udp": "udp", "_watchtower._tcp": "tcp", "_mqtt._tcp": "mqtt", "_secure-mqtt._tcp": "mqtts", "_http._tcp": "http", "_https._tcp": "https",
}

// foundGateway is a gateway that answered.
type foundGateway struct {
	Name      string            `json:"name,omitempty"` // empty: it was found by its broadcast alone
	ID        string            `json:"id"`
	Version   string            `json:"version,omitempty"`
	Addresses []netip.Addr      `json:"addresses"`
	Ports     map[string]uint16 `json:"ports"`
	By        []string          `json:"by"` // mdns, broadcast
}

func findCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "find",
		Short: "List the gateways in the local network",
		Long: "List the gateways in the local network: those that announce themselves by multicast\n" +
			"DNS, and those that answer a device's broadcast. Without any the exit code is 1.",
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	timeout := f.Duration("timeout", 2*time.Second, "how long to listen for answers")
	port := f.Uint16("port", 3033, "the UDP port of the broadcast")
	f.Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *timeout <= 0 || *port == 0 {
			return usagef("--timeout and --port must be more than 0")
		}
		c := newClient(sys)
		if err := c.readFlags(cmd); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), *timeout)
		defer cancel()
		return c.printFound(findGateways(ctx, *port), *timeout)
	}
	return cmd
}

// findGateways asks in both ways at once, until ctx ends.
func findGateways(ctx context.Context, port uint16) []*foundGateway {
	var announced []mdns.Found
	var asking sync.WaitGroup
	asking.Go(func() {
		announced, _ = mdns.Browse(ctx, "_watchtower._udp", "_watchtower._tcp", "_mqtt._tcp", "_secure-mqtt._tcp", "_http._tcp", "_https._tcp")
	})
	answers := askWhere(ctx, port)
	asking.Wait()
	return merge(announced, answers, port)
}

var gatewayID = regexp.MustCompile(`^[0-9a-f]{8}$`)

// merge puts together what was found in both ways. A gateway is known by its id.
func merge(announced []mdns.Found, answers map[netip.Addr]wire.Where, port uint16) []*foundGateway {
	all := map[string]*foundGateway{}
	add := func(id, by string, addresses ...netip.Addr) *foundGateway {
		g := all[id]
		if g == nil {
			g = &foundGateway{ID: id, Ports: map[string]uint16{}}
			all[id] = g
		}
		for _, a := range addresses {
			if !slices.Contains(g.Addresses, a) {
				g.Addresses = append(g.Addresses, a)
			}
		}
		if !slices.Contains(g.By, by) {
			g.By = append(g.By, by)
		}
		return g
	}
	for _, f := range announced {
		id := f.Text["id"]
		if !gatewayID.MatchString(id) || f.Port == 0 || f.Text["name"] == "" { // somebody else's service
			continue
		}
		g := add(id, "mdns", f.Addresses...)
		g.Name, g.Version = f.Text["name"], f.Text["version"]
		g.Ports[announcedPorts[f.Type]] = f.Port
	}
	for from, w := range answers {
		g := add(fmt.Sprintf("%08x", w.Gateway), "broadcast", from)
		g.Ports["udp"] = port
		if w.TCPPort != 0 {
			g.Ports["tcp"] = w.TCPPort
		}
	}
	list := []*foundGateway{}
	for _, g := range all {
		slices.SortFunc(g.Addresses, func(a, b netip.Addr) int { return cmp.Or(class(a)-class(b), a.Compare(b)) })
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *foundGateway) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return list
}

// class puts the addresses first that are easily typed.
func class(a netip.Addr) int {
	switch {
	case a.Is4():
		return 0
	case a.IsLinkLocalUnicast():
		return 2
	}
	return 1
}

// mostAnswers is how many gateways are listed that answer a broadcast.
const mostAnswers = 256

// askWhere asks as devices do, by broadcast, until ctx ends.
func askWhere(ctx context.Context, port uint16) map[netip.Addr]wire.Where {
	answers := map[netip.Addr]wire.Where{}
	conn, err := net.ListenUDP("udp4", nil)
	if err != nil {
		return answers
	}
	var asking sync.WaitGroup
	asking.Go(func() {
		defer func() { _ = conn.Close() }()
		question, _ := wire.AppendRequest(nil, wire.Request{Op: wire.OpWhere}) // it has no field that could be wrong
		again := time.NewTicker(500 * time.Millisecond)
		defer again.Stop()
		for {
			for _, to := range broadcastAddresses() {
				_, _ = conn.WriteToUDPAddrPort(question, netip.AddrPortFrom(to, port)) // an interface may be down
			}
			select {
			case <-again.C:
			case <-ctx.Done():
				return
			}
		}
	})
	defer asking.Wait()
	b := make([]byte, wire.MaxDatagram)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(b)
		if err != nil {
			return answers
		}
		if w, err := wire.ParseWhere(b[:n]); err == nil && w.Gateway != 0 && from.Port() == port && len(answers) < mostAnswers {
			answers[from.Addr().Unmap()] = w
		}
	}
}

// broadcastAddresses returns that of each network of this machine.
func broadcastAddresses() (all []netip.Addr) {
	interfaces, _ := net.Interfaces()
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagBroadcast == 0 {
			continue
		}
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && len(n.Mask) == 4 {
				hosts := ^binary.BigEndian.Uint32(n.Mask)
				last := binary.BigEndian.AppendUint32(nil, binary.BigEndian.Uint32(n.IP.To4())|hosts)
				all = append(all, netip.AddrFrom4([4]byte(last)))
			}
		}
	}
	return all
}

func (c *client) printFound(list []*foundGateway, waited time.Duration) error {
	if c.json {
		if err := json.NewEncoder(c.out).Encode(map[string]any{"gateways": list}); err != nil {
			return err
		}
	} else if len(list) > 0 {
		if err := c.foundTable(list); err != nil {
			return err
		}
	}
	if len(list) == 0 {
		return fmt.Errorf("no gateway answered within %s: none runs in this network, it listens on its own machine alone, or a firewall keeps UDP ports 5353 and 3033 shut", waited)
	}
	return nil
}

func (c *client) foundTable(list []*foundGateway) error {
	table := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tADDRESS\tHTTP\tMQTT\tUDP\tTCP\tVERSION\tID\tFOUND BY")
	for _, g := range list {
		port := func(keys ...string) string {
			for _, k := range keys {
				if g.Ports[k] != 0 {
					return fmt.Sprint(g.Ports[k])
				}
			}
			return "-"
		}
		text := func(s string) string { return cmp.Or(printableText(s), "-") }
		address := "-"
		if len(g.Addresses) > 0 {
			address = g.Addresses[0].String()
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", text(g.Name), address,
			port("http", "https"), port("mqtt", "mqtts"), port("udp"), port("tcp"), text(g.Version), g.ID, strings.Join(g.By, ", "))
	}
	return table.Flush()
}
