//go:build !linux

package datagram

import (
	"errors"
	"net/netip"
)

// Neighbours is empty: on this system the table is not read.
type Neighbours struct{}

// OpenNeighbours fails.
func OpenNeighbours() (*Neighbours, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (*Neighbours) Close() {}

// Each fails.
func (*Neighbours) Each(func(at netip.Addr, missing bool)) error { return errors.ErrUnsupported }

// Queued is 0: not known.
func (w *Writer) Queued() int { return 0 }

// Buffer is 0: not known.
func (s *Socket) Buffer() int { return 0 }
