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
	// reported is how many addresses have log lines of their own while they wait, and wrongReported
	// how many about a wrong key. All others share one, so that forged addresses do not fill the log.
	reported      = 1024
	wrongReported = 64
)

// report logs which addresses are refused, so that the owner learns why nothing works
// for them. An address has one line a minute.
type report struct {
	log     *logrus.Logger
	text    string
	setting string // that decides; empty: none does
	most    int    // addresses with lines of their own

	mu    sync.Mutex
	of    map[netip.Prefix]*account
	swept time.Time
}

// account holds what one address did since its last log line.
type account struct {
	at        netip.Prefix // zero: all addresses without a line of their own
	tries     int
	via       [bridge.MostProtocols]bool
	name      string // as its last try called itself
	forwarded bool
	heard     time.Time // its last try
	logged    time.Time // its last line; zero: none
}

// newReports returns the reports about addresses that wait, and about wrong keys.
func newReports(log *logrus.Logger) (waits, wrong *report) {
	waits = &report{
		log: log, of: map[netip.Prefix]*account{}, most: reported, setting: "limits.failures",
		text: "too many wrong keys, passwords, tokens or senders: who comes from there waits for a while",
	}
	wrong = &report{log: log, of: map[netip.Prefix]*account{}, most: wrongReported, text: "a device has a wrong key"}
	return waits, wrong
}

// failed notes a failure. It is logged with the first refusal.
func (r *report) failed(at netip.Prefix, c Caller, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.noteLocked(at, now); a != nil {
		a.add(c, now)
	}
}

// refused notes a refusal, and logs a line if the last one is a minute old.
func (r *report) refused(at netip.Prefix, c Caller, now time.Time) {
	r.mu.Lock()
	a := r.noteLocked(at, now)
	if a == nil {
		a = r.noteLocked(netip.Prefix{}, now) // there is always room for this one
	}
	a.add(c, now)
	if !a.logged.IsZero() && now.Sub(a.logged) < reportEvery {
		r.mu.Unlock()
		return
	}
	told := *a
	*a = account{at: a.at, heard: now, logged: now}
	r.mu.Unlock()
	r.write(told)
}

func (a *account) add(c Caller, now time.Time) {
	a.tries++
	a.via[c.Via] = true
	a.name = c.Name
	a.forwarded = a.forwarded || c.Forwarded
	a.heard = now
}

// noteLocked returns the account of an address, a new one if it had none, or nil if
// there is no room.
func (r *report) noteLocked(at netip.Prefix, now time.Time) *account {
	a := r.of[at]
	if a != nil {
		return a
	}
	if at.IsValid() && len(r.of) >= r.most {
		r.forgetLocked(now)
		if len(r.of) >= r.most {
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

// write logs an account.
func (r *report) write(a account) {
	var via []string
	for p, did := range a.via {
		if did {
			via = append(via, bridge.Protocol(p).String())
		}
	}
	event := r.log.WithFields(logrus.Fields{"address": Name(a.at), "protocols": strings.Join(via, ","), "tries": a.tries})
	if r.setting != "" {
		event = event.WithField("setting", r.setting)
	}
	if a.name != "" {
		event = event.WithField("name", a.name)
	}
	if a.forwarded {
		event = event.WithField("hint", "it comes through a proxy: is that in http.trusted_proxies?")
	}
	event.Warn(r.text)
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
