package main

import (
	"fmt"
	"os"
)

// measurement is one run of the generator, or another measurement, against one server.
type measurement struct {
	server string
	args   string // of watchtower bench, or one of byItself
}

func (m measurement) key() string { return m.server + " " + m.args }

// The servers.
const (
	gatewayServer = "gateway"
	bareHTTP      = "bare http"
	bareUDP       = "bare udp"
	bareTCP       = "bare tcp"
	nats          = "nats"
	mosquitto     = "mosquitto"
	bareMochi     = "mochi"
	lasting       = "mosquitto with persistence"
	flashMQ       = "flashmq" // only if the variable FLASHMQ names its program
)

// quantity is the figure of a sample that a row shows.
type quantity struct {
	name string
	unit string
	of   func(sample) float64
	less bool // less is better
}

var (
	rate  = quantity{"deliveries", "/s", func(s sample) float64 { return s.Deliveries }, false}
	p99   = quantity{"p99", "ms", func(s sample) float64 { return s.Latency.P99 / 1000 }, true}
	cost  = quantity{"CPU per delivery", "µs", func(s sample) float64 { return s.cost() }, true}
	each  = quantity{"resident, each", "KiB", func(s sample) float64 { return s.Each / 1024 }, true}
	held  = quantity{"resident", "MiB", func(s sample) float64 { return s.resident() }, true}
	kept  = quantity{"resident", "MiB", func(s sample) float64 { return s.settled() }, true}
	start = quantity{"start", "ms", func(s sample) float64 { return s.startMillis }, true}
	once  = quantity{"CPU per connect", "µs", func(s sample) float64 { return s.connectMicros }, true}
)

// row is one line of the table: a measurement compared with another, or with a number.
type row struct {
	path    string
	q       quantity
	of      measurement
	against measurement // server empty: target is in q's unit
	target  float64     // 0: none, it is for comparison
}

// flat is the load of the rows of rates: the generator's default of 4 publishers
// with 64 messages out each, 64 bytes.
func flat(proto string, n int, more string) string {
	return fmt.Sprintf("--proto %s --receivers %d%s", proto, n, more)
}

// everyRow returns the project's targets. In their order, measurements that are compared
// follow each other. Rows with FlashMQ are there if its program is given.
func everyRow() (all []row) {
	for _, r := range allRows() {
		if r.against.server != flashMQ || os.Getenv("FLASHMQ") != "" {
			all = append(all, r)
		}
	}
	return all
}

func allRows() (all []row) {
	add := func(path string, q quantity, of, against measurement, target float64) {
		all = append(all, row{path, q, of, against, target})
	}
	gw := func(args string) measurement { return measurement{gatewayServer, args} }
	for _, n := range []int{50, 500} {
		args := flat("http", n, "")
		add(fmt.Sprintf("one HTTP broadcast → %d ndjson streams", n), rate, gw(args), measurement{bareHTTP, args}, 0.9)
		args = flat("udp", n, "")
		add(fmt.Sprintf("one UDP message → %d basic members", n), rate, gw(args), measurement{bareUDP, args}, 0.85)
		add(fmt.Sprintf("one UDP message → %d session members (tagged)", n), rate, gw(flat("udp-session", n, "")), measurement{bareUDP, args}, 0.6)
		args = flat("tcp", n, "")
		add(fmt.Sprintf("one TCP message → %d TCP members", n), rate, gw(args), measurement{bareTCP, args}, map[int]float64{50: 1, 500: 0.8}[n])
		for qos := range 2 {
			args := flat("mqtt", n, []string{"", " --qos 1"}[qos])
			path := fmt.Sprintf("one MQTT publish → %d subscribers, QoS %d", n, qos)
			add(path, rate, gw(args), measurement{flashMQ, args}, map[int][]float64{50: {3.5, 2}, 500: {2.5, 2}}[n][qos])
			add(path, rate, gw(args), measurement{nats, args}, 0)
			add(path, rate, gw(args), measurement{mosquitto, args}, 0)
			add(path, rate, gw(args), measurement{bareMochi, args}, 0)
			most := map[int][]float64{50: {20, 24}, 500: {30, 55}}[n][qos]
			add("at the end of "+path, held, gw(args), measurement{}, most)
			settled := args + " --settle 5s"
			add("five seconds after "+path, kept, gw(settled), measurement{}, most)
		}
	}
	all = append(all, manyToOne(gw)...)
	all = append(all, manyChannels(gw)...)
	all = append(all, homeRows(gw)...)
	all = append(all, latencyRows(gw)...)
	all = append(all, stalledRows(gw)...)
	all = append(all, costRows(gw)...)
	all = append(all, growthRows(gw)...)
	return all
}

func manyToOne(gw func(string) measurement) []row {
	// The same 256 messages are out as with 4 publishers.
	args := func(proto, more string) string { return flat(proto, 1, " --publishers 50 --window 5"+more) }
	const path = "50 publishers → 1 receiver, "
	return []row{
		{path + "UDP", rate, gw(args("udp", " --send")), measurement{bareUDP, args("udp", " --send")}, 0.8},
		{path + "MQTT", rate, gw(args("mqtt", "")), measurement{flashMQ, args("mqtt", "")}, 3.5},
		{path + "MQTT", rate, gw(args("mqtt", "")), measurement{nats, args("mqtt", "")}, 1},
		{path + "MQTT", rate, gw(args("mqtt", "")), measurement{mosquitto, args("mqtt", "")}, 0},
		{path + "MQTT", rate, gw(args("mqtt", "")), measurement{bareMochi, args("mqtt", "")}, 0},
		{path + "MQTT, QoS 1", rate, gw(args("mqtt", " --qos 1")), measurement{flashMQ, args("mqtt", " --qos 1")}, 1.3},
		{path + "MQTT, QoS 1", rate, gw(args("mqtt", " --qos 1")), measurement{mosquitto, args("mqtt", " --qos 1")}, 1.3},
		{path + "HTTP", rate, gw(args("http", "")), measurement{bareHTTP, args("http", "")}, 1},
	}
}

func manyChannels(gw func(string) measurement) []row {
	const args = "--proto mqtt --receivers 200 --channels 200 --publishers 50"
	const path = "200 channels with a receiver each, MQTT"
	return []row{
		{path, rate, gw(args), measurement{flashMQ, args}, 1.2},
		{path, rate, gw(args), measurement{mosquitto, args}, 0},
	}
}

// homeRows are loads as a home has them: what counts is the processor time.
func homeRows(gw func(string) measurement) (all []row) {
	for _, load := range []struct {
		path, args string
		target     float64
	}{
		{"20 a second to 500 subscribers, QoS 0", flat("mqtt", 500, " --rate 20"), 0.9},
		{"20 a second to 500 subscribers, QoS 1", flat("mqtt", 500, " --rate 20 --qos 1"), 0.9},
		{"200 devices, once a second each, to 1, QoS 0", flat("mqtt", 1, " --publishers 200 --rate 200 --duration 5s"), 1},
		{"200 devices, once a second each, to 1, QoS 1", flat("mqtt", 1, " --publishers 200 --rate 200 --qos 1 --duration 5s"), 1},
		{"200 channels at 5,000 a second", "--proto mqtt --receivers 200 --channels 200 --publishers 50 --rate 5000", 1},
		{"once a second to 50 subscribers", flat("mqtt", 50, " --publishers 1 --rate 1 --duration 8s"), 1},
	} {
		all = append(all,
			row{load.path, cost, gw(load.args), measurement{mosquitto, load.args}, load.target},
			row{load.path, p99, gw(load.args), measurement{mosquitto, load.args}, 1})
	}
	for _, proto := range []struct{ name, server string }{{"http", bareHTTP}, {"udp", bareUDP}, {"tcp", bareTCP}} {
		args := flat(proto.name, 500, " --rate 20")
		all = append(all, row{"20 a second to 500, " + proto.name, cost, gw(args), measurement{proto.server, args}, 1.25})
	}
	return all
}

func latencyRows(gw func(string) measurement) []row {
	args := func(proto string) string { return flat(proto, 500, " --rate 20") }
	const path = "p99 at 10,000 deliveries a second, 500 receivers, "
	return []row{
		{path + "HTTP", p99, gw(args("http")), measurement{bareHTTP, args("http")}, 1.3},
		{path + "UDP", p99, gw(args("udp")), measurement{bareUDP, args("udp")}, 1.3},
		{path + "UDP sessions", p99, gw(args("udp-session")), measurement{bareUDP, args("udp")}, 1.3},
		{path + "TCP", p99, gw(args("tcp")), measurement{bareTCP, args("tcp")}, 1.3},
	}
}

func stalledRows(gw func(string) measurement) (all []row) {
	for _, proto := range []string{"http", "udp", "udp-session", "tcp", "mqtt"} {
		with, without := gw(flat(proto, 50, " --stalled 1")), gw(flat(proto, 50, ""))
		path := "one receiver that does not read, " + proto + ", 50 others"
		all = append(all, row{path, rate, with, without, 0.9}, row{path, p99, with, without, 1.3})
	}
	return all
}

func costRows(gw func(string) measurement) []row {
	idle := func(proto string) string { return flat(proto, 2000, " --idle") }
	return []row{
		{"idle memory of 2,000 HTTP streams", each, gw(idle("http")), measurement{}, 16},
		{"idle memory of 2,000 TCP members", each, gw(idle("tcp")), measurement{bareTCP, idle("tcp")}, 1},
		{"idle memory of 2,000 MQTT subscribers", each, gw(idle("mqtt")), measurement{}, 6},
		{"idle memory of 2,000 UDP sessions", each, gw(idle("udp-session")), measurement{}, 0.5},
		{"start to the first message accepted, 10,000 remembered senders", start, gw(startUp), measurement{}, 100},
		{"start with 100,000 remembered names, 10,000 sessions, 100,000 retained", start, gw(startFull), measurement{lasting, startFull}, 1.5},
		{"connect (ids that are not remembered)", once, gw(connects), measurement{mosquitto, connects}, 1.3},
	}
}

// growthRows compare one total rate over little with the same over much: 10,000 deliveries a
// second, of which each channel or member has fewer. Channels are used for the first time while it
// is measured, or once all were used. Mosquitto's rows show how much a machine's caches make.
func growthRows(gw func(string) measurement) (all []row) {
	add := func(path, args string, little, great any, target float64, servers ...string) {
		for _, server := range servers {
			of, against := measurement{server, fmt.Sprintf(args, great)}, measurement{server, fmt.Sprintf(args, little)}
			all = append(all, row{path + ", " + server, cost, of, against, target})
			target = 0 // what follows is for comparison
		}
	}
	const channels = " --receivers 10 --join-all --publishers 1 --rate 1000 --channels %d --warm-up "
	const first, used = "2500ms", "12s"
	for _, proto := range []string{"mqtt", "tcp", "http"} {
		servers := map[bool][]string{true: {gatewayServer, mosquitto}, false: {gatewayServer}}[proto == "mqtt"]
		add("cost from 1 to 10,000 channels, "+proto+", first use", "--proto "+proto+channels+first, 1, 10_000, 1.15, servers...)
		add("cost from 1 to 10,000 channels, "+proto+", once used", "--proto "+proto+channels+used, 1, 10_000, 1.15, servers...)
	}
	add("cost from 1 to 10,000 channels, mqtt to udp-session, once used", "--publish mqtt --receive udp-session"+channels+used, 1, 10_000, 1.15, gatewayServer)
	add("cost from 10 to 10,000 UDP members", "--proto udp --publishers 1 --warm-up 2500ms --receivers %s", "10 --rate 1000", "10000 --rate 1", 1.15, gatewayServer)
	add("cost from 10 to 10,000 MQTT clients on their own topics", "--proto mqtt --publishers 4 --rate 5000 --warm-up 4s --receivers %[1]d --channels %[1]d", 10, 10_000, 1.15, gatewayServer, mosquitto)
	return all
}

// measurements returns the measurements that the rows need, each once. If a row compares two
// measurements of the same server, they follow each other.
func measurements(rows []row) (all []measurement) {
	seen := map[string]bool{}
	var add func(m measurement)
	add = func(m measurement) {
		if m.server == "" || seen[m.key()] {
			return
		}
		seen[m.key()] = true
		all = append(all, m)
		for _, r := range rows {
			if r.against == m && r.of.server == m.server {
				add(r.of)
			}
		}
	}
	for _, r := range rows {
		if r.against.server == r.of.server {
			add(r.against)
		}
		add(r.of)
		add(r.against)
	}
	return all
}
