//go:build !linux

package datagram

import (
	"errors"
	"net/netip"
)

// Neighbours is nothing here: the system is not asked who is missing.
type Neighbours struct{}

// OpenNeighbours fails.
func OpenNeighbours() (*Neighbours, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (*Neighbours) Close() {}

// Each tells nothing.
func (*Neighbours) Each(func(at netip.Addr, missing bool)) error { return errors.ErrUnsupported }

// Queued is 0: not known.
func (w *Writer) Queued() int { return 0 }

// Buffer is 0: not known.
func (s *Socket) Buffer() int { return 0 }
