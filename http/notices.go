package http

import (
	nethttp "net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/auth"
	"watchtower/bridge"
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

// notice logs what was refused to whom. The request is nil where there was none.
func (s *Server) notice(who netip.Prefix, shown problem, r *nethttp.Request) {
	if !s.notices.allow(who, shown.Type, s.opts.Clock()) {
		return
	}
	fields := logrus.Fields{"client": auth.Name(who), "status": shown.Status, "problem": shown.Title, "detail": shown.Detail}
	if r != nil {
		fields["method"], fields["path"] = bridge.Shorten(r.Method), bridge.Shorten(r.URL.Path)
	}
	s.log.WithFields(fields).Info("http request refused")
}

// worthALine reports whether the owner is told of a refusal: of somebody who does not
// know his key, and of what is too large, nobody else would find out.
func worthALine(status int) bool {
	return status == nethttp.StatusUnauthorized || status == nethttp.StatusRequestEntityTooLarge
}
