package bench

import (
	"strconv"
	"strings"
	"time"
)

// drops holds the counts of drops in a gateway's metrics, by protocol and reason, as in
// "udp queue_full".
type drops map[string]uint64

// notDeliveries are the reasons of drops that are no lost deliveries.
var notDeliveries = map[string]bool{
	"malformed": true, "refused": true, "forgotten": true, "limit": true, "forged": true,
	"duplicate": true, "elsewhere": true, "unknown": true, "truncated": true,
}

// drops reads the metrics of both gateways, if there are two. Without metrics it is nil.
func (r *run) drops() drops {
	all := r.server.drops()
	if r.origin == &r.server || r.origin.opts.URL == r.opts.URL {
		return all
	}
	for what, n := range r.origin.drops() {
		if all == nil {
			all = drops{}
		}
		all[what] += n
	}
	return all
}

// drops reads the gateway's metrics. Without a gateway or metrics it returns nil.
func (s *server) drops() drops {
	if s.opts.URL == "" {
		return nil
	}
	text, err := s.web.call("GET", s.opts.URL+"/metrics", "", "")
	if err != nil {
		return nil // then a loss is unexplained
	}
	return parseDrops(string(text))
}

// usage is what a gateway's process has used.
type usage struct {
	processor time.Duration
	resident  uint64 // bytes
}

// use returns what the gateway's process has used, as its metrics tell it: to 10 ms, and also
// from another machine. Without metrics it is 0.
func (s *server) use() (u usage) {
	if s.opts.URL == "" {
		return u
	}
	text, err := s.web.call("GET", s.opts.URL+"/metrics", "", "")
	if err != nil {
		return u
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseFloat(value, 64)
		switch {
		case err != nil:
		case name == "process_cpu_seconds_total":
			u.processor = time.Duration(n * float64(time.Second))
		case name == "process_resident_memory_bytes":
			u.resident = uint64(n)
		}
	}
	return u
}

const dropsMetric = "watchtower_drops_total{"

func parseDrops(text string) drops {
	all := drops{}
	for line := range strings.Lines(text) {
		labels, ok := strings.CutPrefix(line, dropsMetric)
		if !ok {
			all.between(line)
			continue
		}
		labels, value, _ := strings.Cut(labels, "} ")
		n, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || n == 0 {
			continue
		}
		all[label(labels, "protocol")+" "+label(labels, "reason")] = uint64(n)
	}
	return all
}

// peersLost is what two gateways tell of messages that were lost between them.
const peersLost = "lost between the gateways"

// between takes a line of the metrics that tells what was lost between gateways.
func (d drops) between(line string) {
	name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
	name, _, _ = strings.Cut(name, "{")
	if name != "watchtower_peer_lost_total" && name != "watchtower_peer_unsent_total" {
		return
	}
	if n, err := strconv.ParseFloat(value, 64); err == nil && n > 0 {
		d[peersLost] += uint64(n)
	}
}

func label(labels, name string) string {
	_, value, _ := strings.Cut(labels, name+`="`)
	value, _, _ = strings.Cut(value, `"`)
	return value
}

// since returns the drops after an earlier time.
func (d drops) since(before drops) drops {
	out := drops{}
	for what, n := range d {
		if n > before[what] {
			out[what] = n - before[what]
		}
	}
	return out
}

// deliveries returns how many lost deliveries the drops explain.
func (d drops) deliveries() (n uint64) {
	for what, lost := range d {
		if _, reason, _ := strings.Cut(what, " "); !notDeliveries[reason] && what != peersLost {
			n += lost
		}
	}
	return n
}
