package bridge

import (
	"time"

	"github.com/sirupsen/logrus"
)

// A device that was heard within rivalHeard is there. Names that two devices seem to have are
// logged once in rivalEvery.
const (
	rivalHeard = 2 * time.Minute
	rivalEvery = time.Minute
)

// rivalsLocked logs that a hold takes its name from another one, if that was there a moment ago
// over another protocol: a device that comes back uses the same. The one that loses the name is
// not told, as it may just have restarted.
func (h *Hub) rivalsLocked(old, by *Hold) {
	if !h.rivalLocked(old, Protocol(max(by.via.Load()-1, 0))) {
		return
	}
	fields := logrus.Fields{"name": by.sender.Name(), "was": Protocol(old.via.Load() - 1), "now": Protocol(by.via.Load() - 1)}
	for key, hold := range map[string]*Hold{"remote": old, "by": by} {
		if from := hold.from.Load(); from != nil {
			fields[key] = *from
		}
	}
	h.opts.Log.WithFields(fields).Warn("a name is taken over from a device that was just there: if two devices have it, only the last hears anything; give each its own")
}

// rivalsElsewhereLocked is rivalsLocked for a name that is taken at another gateway.
func (h *Hub) rivalsElsewhereLocked(old *Hold, now Protocol) {
	if !h.rivalLocked(old, now) {
		return
	}
	fields := logrus.Fields{"name": old.sender.Name(), "was": Protocol(old.via.Load() - 1), "now": now}
	if from := old.from.Load(); from != nil {
		fields["remote"] = *from
	}
	h.opts.Log.WithFields(fields).Warn("a name is taken over at another gateway from a device that was just here: if two devices have it, only the last hears anything; give each its own")
}

// rivalLocked reports whether a hold that loses its name was there a moment ago, over another
// protocol than the one that takes it, and whether people are to be told of that now.
func (h *Hub) rivalLocked(old *Hold, by Protocol) bool {
	was := old.via.Load()
	now := h.now()
	heard := time.Unix(old.heard.Load(), 0)
	if was == 0 || by == 0 || Protocol(was-1) == by || old.away.Load() || now.Sub(heard) > rivalHeard || now.Sub(h.rivalsTold) < rivalEvery {
		return false
	}
	h.rivalsTold = now
	return true
}
