package http

import (
	"net/netip"
	"sync"
	"time"
)

// notices limits the log to one refusal a minute for each client and problem, so that a
// mistake is seen and an attack does not fill the log.
type notices struct {
	mu    sync.Mutex
	last  map[noticed]time.Time
	swept time.Time // when old entries were last removed
}

type noticed struct {
	who  netip.Prefix
	what string
}

const (
	noticeEvery = time.Minute
	noticesMost = 1024 // others are not logged
)

// allow reports whether a refusal is logged now, and notes it.
func (n *notices) allow(who netip.Prefix, what string, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	e := noticed{who, what}
	if last, ok := n.last[e]; ok && now.Sub(last) < noticeEvery {
		return false
	}
	if len(n.last) >= noticesMost && now.Sub(n.swept) >= noticeEvery/60 {
		n.swept = now
		for e, last := range n.last {
			if now.Sub(last) >= noticeEvery {
				delete(n.last, e)
			}
		}
	}
	if _, ok := n.last[e]; !ok && len(n.last) >= noticesMost {
		return false
	}
	if n.last == nil {
		n.last = map[noticed]time.Time{}
	}
	n.last[e] = now
	return true
}
