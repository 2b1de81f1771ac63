package intake

import (
	"errors"
	"io"
)

// ErrFull ends the reading of a message for which a Loan has no more bytes.
var ErrFull = errors.New("intake: no room for what is not complete")

// growth is how many times what has arrived a buffer may have room for. With less,
// large messages would be copied more often; with more, a peer that says little
// would hold much.
const growth = 4

// Read reads on into b, which grows with what arrives, until it has size bytes or r
// ends, which is an io.EOF. What is beyond Free is taken from the loan. A b that is
// nil begins with first bytes.
func Read(r io.Reader, b []byte, first, size int, l *Loan) ([]byte, error) {
	if b == nil {
		b = make([]byte, 0, min(first, size))
	}
	for len(b) < size {
		if len(b) == cap(b) {
			room := min(growth*cap(b), size)
			if more := room - max(cap(b), Free); more > 0 && !l.Take(more) {
				return b, ErrFull
			}
			b = append(make([]byte, 0, room), b...)
		}
		n, err := r.Read(b[len(b):min(cap(b), size)])
		b = b[:len(b)+n]
		if err != nil {
			return b, err
		}
	}
	return b, nil
}
