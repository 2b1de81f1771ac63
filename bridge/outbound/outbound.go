// Package outbound writes what waits for a connection, in as few calls as possible. TCP
// connections, HTTP streams and MQTT clients all use it.
//
// A Source holds what waits. A Writer takes all of it and writes it in one call. It needs no
// goroutine for that: whoever has put something into the source writes it too (Round), or
// leaves it to a Crew, a few goroutines for all connections. A receiver that does not read
// is cut off, and delays nobody else. A Queue is the plain bounded Source.
package outbound

import (
	"sync"
	"time"
)

// batchBytes is how many bytes are written at once, if so many wait. The last frame may go
// beyond it.
const batchBytes = 64 << 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 0, batchBytes); return &b }}

// Source gives a Writer the next bytes to write.
type Source interface {
	// Fill appends what waits to buf, which is empty and has room for a batch,
	// and returns it. Less than a batch says that nothing more waits.
	Fill(buf []byte) []byte
}

// Conn is the part of a connection that a Writer needs. One that only counts what is
// read, and writes to a socket as it is, has a method Plain that returns that socket.
type Conn interface {
	Write([]byte) (int, error)
	SetWriteDeadline(time.Time) error
}

// Options of a Writer.
type Options struct {
	Timeout   time.Duration // a write that takes longer ends the Writer
	Heartbeat []byte        // Run writes it at the start, and after Every without a write; nil: none
	Every     time.Duration
	Crew      *Crew       // writes after Wake
	Ended     func(error) // see Writer; nil: nobody is told
}
