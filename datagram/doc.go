// Package datagram moves UDP datagrams in batches: one system call for many of
// them. It knows sockets and addresses, and nothing of what the datagrams mean.
//
// On Linux a Reader is recvmmsg and a Writer sendmmsg. Datagrams of one size that
// follow each other to one destination go as one message, which the system cuts
// apart again (UDP_SEGMENT, "generic segmentation offload"): its way through the
// system is taken once for all of them, which is most of what a datagram costs.
// Elsewhere each datagram is a call of its own.
//
// A socket that is bound to no address of a machine with several answers from the
// one at which it was asked: Reader.Local, and Writer.AddFrom.
//
//	mmsg_linux.go    recvmmsg and sendmmsg     socket_linux.go   addresses
//	source_linux.go  control messages          local_linux.go   the machine's own addresses
//	other.go         one datagram a call
package datagram

// The sizes of a Writer's batch.
const (
	maxRuns  = 64  // messages that a call writes
	maxParts = 512 // datagrams in them
	maxRun   = 64  // datagrams in one of them: older systems take no more

	maxRunBytes = 65_000 // of one message: what IP can carry, and a little less
	everywhere  = 1200   // bytes of a datagram that fit every way: if these are refused, it is for the merging
)

// Local is one of this machine's addresses, as a Socket numbers them, where it has
// more than one; 0 is whichever the system chooses.
type Local uint32

// batch is what a Writer holds, in the order of Add: the part that is the same
// on every system.
type batch struct {
	count int // datagrams that were added
	done  int // of these: written or skipped
}

// Done is how many of the datagrams that were added were written or skipped: the
// next one has this number.
func (b *batch) Done() int { return b.done }

// Waiting is how many of them are still to be written.
func (b *batch) Waiting() int { return b.count - b.done }
