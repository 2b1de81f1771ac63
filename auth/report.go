package auth

import (
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

const (
	// reportEvery is the time between two lines about one address.
	reportEvery = time.Minute
	// reported is how many addresses have log lines of their own. All others share one,
	// so that forged addresses do not fill the log.
	reported = 1024
)

// report logs which addresses are refused, so that the owner learns why nothing works
// for them. An address has one line a minute.
type report struct {
	log *logrus.Logger

	mu    sync.Mutex
	of    map[netip.Prefix]*account
	swept time.Time
}

// account holds what one address did since its last log line.
type account struct {
	at        netip.Prefix // zero: all addresses without a line of their own
	tries     int
	via       [bridge.MostProtocols]bool
	forwarded bool
	heard     time.Time // its last try
	logged    time.Time // its last line; zero: none
}

func newReport(log *logrus.Logger) *report {
	return &report{log: log, of: map[netip.Prefix]*account{}}
}

// failed notes a failure. It is logged with the first refusal.
func (r *report) failed(at netip.Prefix, via bridge.Protocol, forwarded bool, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.noteLocked(at, now); a != nil {
		a.add(via, forwarded, now)
	}
}

// refused notes a refusal, and logs a line if the last one is a minute old.
func (r *report) refused(at netip.Prefix, via bridge.Protocol, forwarded bool, now time.Time) {
	r.mu.Lock()
	a := r.noteLocked(at, now)
	if a == nil {
		a = r.noteLocked(netip.Prefix{}, now) // there is always room for this one
	}
	a.add(via, forwarded, now)
	if !a.logged.IsZero() && now.Sub(a.logged) < reportEvery {
		r.mu.Unlock()
		return
	}
	told := *a
	*a = account{at: a.at, heard: now, logged: now}
	r.mu.Unlock()
	told.write(r.log)
}

func (a *account) add(via bridge.Protocol, forwarded bool, now time.Time) {
	a.tries++
	a.via[via] = true
	a.forwarded = a.forwarded || forwarded
	a.heard = now
}

// noteLocked returns the account of an address, a new one if it had none, or nil if
// there is no room.
func (r *report) noteLocked(at netip.Prefix, now time.Time) *account {
	a := r.of[at]
	if a != nil {
		return a
	}
	if at.IsValid() && len(r.of) >= reported {
		r.forgetLocked(now)
		if len(r.of) >= reported {
			return nil
		}
	}
	a = &account{at: at}
	r.of[at] = a
	return a
}

// forgetLocked forgets accounts that had no try and no line for reportEvery. It looks for
// them at most once a second.
func (r *report) forgetLocked(now time.Time) {
	if now.Sub(r.swept) < reportEvery/60 {
		return
	}
	r.swept = now
	for at, a := range r.of {
		if now.Sub(a.heard) >= reportEvery && now.Sub(a.logged) >= reportEvery {
			delete(r.of, at)
		}
	}
}

// write logs the account.
func (a *account) write(log *logrus.Logger) {
	var via []string
	for p, did := range a.via {
		if did {
			via = append(via, bridge.Protocol(p).String())
		}
	}
	event := log.WithFields(logrus.Fields{
		"address": Name(a.at), "protocols": strings.Join(via, ","), "tries": a.tries, "setting": "limits.failures",
	})
	if a.forwarded {
		event = event.WithField("hint", "it comes through a proxy: is that in http.trusted_proxies?")
	}
	event.Warn("too many wrong keys, passwords, tokens or senders: who comes from there waits for a while")
}

// Name returns the text for an address in logs.
func Name(at netip.Prefix) string {
	switch {
	case !at.IsValid():
		return "many, or forged ones"
	case at.IsSingleIP():
		return at.Addr().String()
	}
	return at.String()
}
