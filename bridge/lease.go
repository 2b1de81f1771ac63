package bridge

import (
	"context"
	"time"
)

// Some work may be done by one gateway at a time, of those that share their channels. Each piece
// of it has a lease, by name.

// Lease is the right to do a piece of work.
type Lease interface {
	// Held reports whether no other gateway can have it now. It is asked just before each
	// thing that only one may do: the process may have been frozen meanwhile.
	Held() bool
	// Load returns what the last holder left; nil: nothing. Save leaves something, of at most
	// LeftBytes; after another gateway has got the lease, it fails.
	Load(context.Context) ([]byte, error)
	Save(context.Context, []byte) error
}

// LeftBytes is the most that a lease's holder leaves to the next.
const LeftBytes = 512 << 10

// Leases give each piece of work to one gateway at a time.
type Leases interface {
	// Run calls work each time that this gateway gets the lease of a name, until ctx ends.
	// Work's context ends when the lease is to be given back, or is lost: it is given back
	// when work has returned. One that moves goes to another gateway that has less to do.
	Run(ctx context.Context, name string, moves bool, work func(context.Context, Lease))
	// Prefer says that this gateway wants a lease more than others, which then give it back; or
	// no more than others do. Who wants it first has it.
	Prefer(name string, wants bool)
	// Left returns what the holder of a lease has left, as this gateway has heard it; nil:
	// nothing.
	Left(name string) []byte
	// Holders lists who has which lease, as this gateway has heard it.
	Holders() []LeaseHolder
}

// LeaseHolder is who has a lease.
type LeaseHolder struct {
	Name  string // the lease's
	Slot  Slot
	Since time.Time
}
