package bridge

import "context"

// A stay is what the bus has of a client whether it is connected or not: over MQTT, a session.

// StayRow is what a space keeps of a stay, so that another gateway has it when its own is gone.
type StayRow struct {
	Key   ClaimKey
	Data  []byte
	Ended bool // the stay has ended
}

// StayStore keeps the rows.
type StayStore interface {
	// Adopt writes a row, unless somebody has written it since a revision.
	Adopt(ctx context.Context, row StayRow, revision uint64) error
}

// StayKeeper is the bus's side: it has the stays.
type StayKeeper interface {
	// BeginStays says that all that a store has is going to be told.
	BeginStays(StayStore)
	// LearnStay takes what the store has. It may be old.
	LearnStay(row StayRow, revision uint64)
	// StaysInStep says that all was told that the store had.
	StaysInStep()
	// UnwrittenStays returns what has changed since, each once.
	UnwrittenStays(most int) []StayRow
	// StayNotWritten takes a row back.
	StayNotWritten(StayRow)
}
