package intake

import (
	"errors"
	"io"
)

// ErrFull is the error of Read if the loan has no more bytes.
var ErrFull = errors.New("intake: no room for what is not complete")

// growth is the factor by which a full buffer grows. With a smaller one large messages
// would be copied more often; with a larger one a client that has sent little would hold
// much.
const growth = 4

// Read appends to b what it reads from r, until b has size bytes. If r ends before that,
// the error is io.EOF. B grows with what arrives; a nil b begins with room for first
// bytes. Room beyond Free is taken from the loan.
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
