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

// use returns the processor time and the resident bytes of the gateway's process, as its
// metrics tell them: to 10 ms, and also from another machine. Without metrics they are 0.
func (s *server) use() (processor time.Duration, resident uint64) {
	if s.opts.URL == "" {
		return 0, 0
	}
	text, err := s.web.call("GET", s.opts.URL+"/metrics", "", "")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseFloat(value, 64)
		switch {
		case err != nil:
		case name == "process_cpu_seconds_total":
			processor = time.Duration(n * float64(time.Second))
		case name == "process_resident_memory_bytes":
			resident = uint64(n)
		}
	}
	return processor, resident
}

const dropsMetric = "watchtower_drops_total{"

func parseDrops(text string) drops {
	all := drops{}
	for line := range strings.Lines(text) {
		labels, ok := strings.CutPrefix(line, dropsMetric)
		if !ok {
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
		if _, reason, _ := strings.Cut(what, " "); !notDeliveries[reason] {
			n += lost
		}
	}
	return n
}
