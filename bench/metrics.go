package bench

import (
	"strconv"
	"strings"
)

// drops are what a gateway's metrics say that it dropped, by protocol and
// reason, as in "udp queue_full".
type drops map[string]uint64

// notDeliveries are reasons that say nothing of a message on its way out.
var notDeliveries = map[string]bool{
	"malformed": true, "refused": true, "forgotten": true, "limit": true, "forged": true,
	"duplicate": true, "elsewhere": true, "unknown": true, "truncated": true,
}

// drops asks the gateway. Without one, or without metrics, there are none.
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

// since is what was dropped after an earlier time.
func (d drops) since(before drops) drops {
	out := drops{}
	for what, n := range d {
		if n > before[what] {
			out[what] = n - before[what]
		}
	}
	return out
}

// deliveries is how many deliveries a loss explains.
func (d drops) deliveries() (n uint64) {
	for what, lost := range d {
		if _, reason, _ := strings.Cut(what, " "); !notDeliveries[reason] {
			n += lost
		}
	}
	return n
}
