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
	was, is := old.via.Load(), by.via.Load()
	now := h.now()
	heard := time.Unix(old.heard.Load(), 0)
	if was == 0 || is == 0 || was == is || old.away.Load() || now.Sub(heard) > rivalHeard || now.Sub(h.rivalsTold) < rivalEvery {
		return
	}
	h.rivalsTold = now
	fields := logrus.Fields{"name": by.sender.Name(), "was": Protocol(was - 1), "now": Protocol(is - 1)}
	for key, hold := range map[string]*Hold{"remote": old, "by": by} {
		if from := hold.from.Load(); from != nil {
			fields[key] = *from
		}
	}
	h.opts.Log.WithFields(fields).Warn("a name is taken over from a device that was just there: if two devices have it, only the last hears anything; give each its own")
}
