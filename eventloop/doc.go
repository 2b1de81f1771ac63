// Package eventloop reads from many sockets with few goroutines: on Linux with epoll(7).
// On other systems there are no loops, and each connection is read by its own goroutine.
//
// A goroutine that waits for its connection takes memory for its stack, and the scheduler
// takes time to wake it for each message. So a connection that waits is parked: its
// goroutine ends, and a loop reads what comes, for all connections that are ready, one
// after the other. The handler executes it at once if that cannot wait for anything. What it
// leaves goes to a goroutine of the connection's own, which parks the connection again when
// it is done.
//
// While few sockets are ready at once, one loop reads them all: so no second thread is woken.
// While there are many, others help.
//
// A loop writes what it has put into connections' queues when it has read all sockets that
// were ready (outbound.Round). So a message goes from socket to socket in one goroutine, and
// the more there is to do, the more goes out in one write.
package eventloop

import "watchtower/bridge/outbound"

// Handler is a parked connection.
type Handler interface {
	// Take executes what b begins with, and returns how many bytes that was. It does not
	// keep b, and must not wait for anything. If it takes less than all, Resume is called.
	Take(b []byte, r *outbound.Round) int

	// Resume is called in a goroutine of its own when the connection is no longer parked.
	// Rest was read and not taken. Err says why reading failed; nil: it did not.
	Resume(rest []byte, err error)
}
