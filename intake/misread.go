package intake

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/time/rate"

	"watchtower/bridge"
)

// misreadLines is how many lines Misread writes in a minute at most, so that forged addresses
// do not fill the log.
const misreadLines = 60

// Misread logs what devices said and the gateway could not take: once a minute at most for
// each originator and reason.
type Misread struct {
	log      *logrus.Entry
	throttle *Throttle
	lines    *rate.Limiter
}

// NewMisread returns one that writes to a log.
func NewMisread(log *logrus.Entry) *Misread {
	return &Misread{log, NewThrottle(time.Minute), rate.NewLimiter(rate.Every(time.Minute/misreadLines), misreadLines)}
}

// Frame logs a frame that was dropped. It was counted with the same reason.
func (m *Misread) Frame(from netip.Addr, why bridge.Reason) {
	if client := from.String(); m.allow(client, why) {
		m.log.WithFields(logrus.Fields{"client": client, "reason": why}).Warn("frame dropped")
	}
}

// TooLarge logs a message that a protocol cannot carry.
func (m *Misread) TooLarge(message *bridge.Message) {
	if m.allow(strconv.FormatUint(uint64(message.Sender), 10), bridge.TooLarge) {
		m.log.WithFields(logrus.Fields{
			"sender": message.Sender, "channel": message.Channel, "bytes": len(message.Data), "reason": bridge.TooLarge,
		}).Warn("message dropped")
	}
}

func (m *Misread) allow(who string, why bridge.Reason) bool {
	return m.throttle.Allow(who, why.String(), time.Now()) && m.lines.Allow()
}
