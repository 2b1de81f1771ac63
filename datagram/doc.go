// Package datagram moves UDP datagrams in batches: one system call for many of
// them. It knows sockets and addresses, and nothing of what the datagrams mean.
//
// On Linux a Reader uses recvmmsg, and a Writer sendmmsg. Datagrams of one size that
// follow each other to one destination go as one message, which the system splits again
// (UDP_SEGMENT, "generic segmentation offload"). So they pass through the system once,
// which is most of what a datagram costs. On other systems each datagram is a call of its
// own.
//
// If a machine has several addresses, and the socket is bound to none of them, an answer
// leaves from the address at which the request came: Reader.Local, Writer.AddFrom.
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
	everywhere  = 1200   // bytes of a datagram that pass everywhere: if such a one is refused, merging is the cause
)

// Local is one of this machine's addresses, as a Socket numbers them. With 0 the system
// chooses.
type Local uint32

// batch is the part of a Writer that is the same on every system. The datagrams are in
// the order of Add.
type batch struct {
	count int // datagrams that were added
	done  int // of these: written or skipped
}

// Done is how many of the added datagrams were written or skipped. The next one has this
// number.
func (b *batch) Done() int { return b.done }

// Waiting is how many added datagrams are not written yet.
func (b *batch) Waiting() int { return b.count - b.done }
