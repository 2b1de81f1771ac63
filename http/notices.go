package http

import (
	"net/netip"
	"sync"
	"time"
)

// notices says of which refusals there was a line in the log lately: one a minute for a
// client and a problem, so that a mistake is seen and an attack does not fill the log.
type notices struct {
	mu    sync.Mutex
	last  map[noticed]time.Time
	swept time.Time // when what is long ago was forgotten
}

type noticed struct {
	who  netip.Prefix
	what string
}

const (
	noticeEvery = time.Minute
	noticesMost = 1024 // what is beyond them has no line
)

// allow reports whether there is to be a line, and notes that there was.
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
