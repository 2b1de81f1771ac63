package mqtt

import (
	"encoding/json"
	"sync"
	"time"

	"watchtower/bridge"
)

// spaceRecord is what the space keeps of a session, as JSON.
type spaceRecord struct {
	Home    bridge.Slot   `json:"home"`
	Session sessionRecord `json:"session"` // of one that has ended, only whose it was
}

// key is the session's.
func (r *spaceRecord) key() sessionKey {
	k := sessionKey{client: r.Session.Client, user: r.Session.User}
	if r.Session.Named {
		k.sender = r.Session.Sender
	}
	return k
}

// spaceRow is one that the store has.
type spaceRow struct {
	home     bridge.Slot
	claimed  uint64
	data     []byte
	revision uint64
	free     time.Time // since when no gateway claims it; zero: one does, or nobody has looked
	refused  bool      // it cannot be adopted
}

// spaceRecords are what the space keeps of all sessions.
type spaceRecords struct {
	own bridge.Slot

	mu        sync.Mutex
	store     bridge.StayStore // nil: there is none now
	inStep    bool             // all is known that it has
	known     map[bridge.ClaimKey]*spaceRow
	unwritten map[bridge.ClaimKey]bridge.StayRow
}

func newSpaceRecords(own bridge.Slot) *spaceRecords {
	return &spaceRecords{own: own, known: map[bridge.ClaimKey]*spaceRow{}, unwritten: map[bridge.ClaimKey]bridge.StayRow{}}
}

// note has a session's record written to the space.
func (r *spaceRecords) note(record *sessionRecord) {
	row, key := r.row(record)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unwritten[key] = row
}

// row makes a row of a record, whose home is this gateway.
func (r *spaceRecords) row(record *sessionRecord) (bridge.StayRow, bridge.ClaimKey) {
	made := spaceRecord{r.own, *record}
	key := made.key().claim()
	b, _ := json.Marshal(made) // plain structs: cannot fail
	return bridge.StayRow{Key: key, Data: b}, key
}

// noteEnd has the space forget a session, if it has something of it.
func (r *spaceRecords) noteEnd(s *session) {
	key := s.key.claim()
	r.mu.Lock()
	defer r.mu.Unlock()
	_, unwritten := r.unwritten[key]
	if r.known[key] == nil && !unwritten {
		return
	}
	made := spaceRecord{r.own, sessionRecord{
		Client: s.key.client, User: s.key.user, Sender: s.sender().ID(), Named: s.key.sender != 0, Claimed: s.claimed,
	}}
	b, _ := json.Marshal(made) // plain structs: cannot fail
	r.unwritten[key] = bridge.StayRow{Key: key, Data: b, Ended: true}
}

// get returns what the space has of a session; ok is false if there is nothing.
func (r *spaceRecords) get(key bridge.ClaimKey) (row spaceRow, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.known[key]
	if known == nil {
		return row, false
	}
	return *known, true
}

// nameless reports whether the space has a session of a client id whose sender has no name. Its
// gateway may be out of reach.
func (r *spaceRecords) nameless(client, user string) bool {
	if r == nil {
		return false
	}
	_, known := r.get(sessionKey{client: client, user: user}.claim())
	return known
}

// refuse notes that a row cannot be adopted.
func (r *spaceRecords) refuse(key bridge.ClaimKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if row := r.known[key]; row != nil {
		row.refused = true
	}
}
