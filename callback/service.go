package callback

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
	"watchtower/history"
)

// Protocol is the callbacks as the hub knows them.
var Protocol = bridge.NewProtocol("callback")

// Service posts messages and delivery reports. An endpoint has a goroutine only while an
// attempt is in progress (turns). Memory is limited by sender (shares).
type Service struct {
	hub      *bridge.Hub
	past     *history.History
	opts     Options
	policy   *policy
	log      *logrus.Logger
	now      func() time.Time
	poster   *poster
	signer   signer
	together *together       // nil: the gateway is alone
	keeper   *keeper         // nil: nothing is kept on disk
	ctx      context.Context // ends the attempts in progress
	cancel   context.CancelFunc

	outcomes [numOutcomes]atomic.Uint64
	changes  atomic.Uint64

	mu        sync.Mutex
	endpoints map[endpointKey]*endpoint
	shares    *shares
	turns     *turns
	numbers   uint64 // number of the newest endpoint
	busy      int    // endpoints that are not idle
	serving   bool   // attempts may be made
	closed    bool   // no new deliveries are taken
	stopping  bool   // failed deliveries are left for the next start
	warned    time.Time
	settled   chan struct{} // closed once closed is set and no endpoint is busy
	workers   sync.WaitGroup
}

// outcome is how one attempt at a delivery, or a delivery, ended.
type outcome int

const (
	delivered outcome = iota // the receiver took it
	retried                  // an attempt failed, and another follows
	givenUp                  // the last attempt failed
	tooLate                  // it expired first
	disabled                 // its callback was disabled
	gaveWay                  // an attempt was cut short to make room, and is repeated
	numOutcomes
)

func (o outcome) String() string {
	return [...]string{"delivered", "retried", "failed", "expired", "disabled", "gave_way"}[o]
}

// drop counts n messages that a callback of a sender did not get.
func (c *Service) drop(s *bridge.Sender, why bridge.Reason, n int) {
	c.hub.Counters().Lose(s, Protocol, why, n)
}

func (c *Service) count(o outcome, n int) { c.outcomes[o].Add(uint64(n)) }

func (c *Service) changedLocked(e *endpoint) {
	if !e.listed {
		return
	}
	c.changes.Add(1)
	if c.together != nil {
		c.together.stateLocked(e)
	}
	if c.keeper != nil {
		c.keeper.noteLocked(e)
	}
}
