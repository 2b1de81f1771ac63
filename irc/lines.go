package irc

import (
	"bytes"
	"errors"
	"io"
	"time"
)

const (
	// lineBytes is the longest line with its end, without tags.
	lineBytes = 512
	// tagBytes is the most that a client's tags take, with @ and the space.
	tagBytes = 4096
	// strangerBytes is the charge in bytes for a connection that has not registered.
	strangerBytes = 4 << 10

	// burst is how many lines a client may send at once, and every the time after which it
	// may send one more. Others wait; none is lost.
	burst = 20
	every = 500 * time.Millisecond
)

// errLong is the error of a line that is too long. The next one can be read.
var errLong = errors.New("irc: the line is too long")

// lineReader reads lines. Its memory grows up to the longest line.
type lineReader struct {
	from     io.Reader
	buf      []byte
	begin, n int  // the bytes that are there: buf[begin:n]
	skipping bool // the line's beginning was thrown away
}

// next returns the next line without its end, which is valid until the next call. Empty lines
// are left out. Most is its longest length in bytes, with its end. After errLong the rest of
// the line is skipped.
func (r *lineReader) next(most int) ([]byte, error) {
	for {
		if i := bytes.IndexByte(r.buf[r.begin:r.n], '\n'); i >= 0 {
			line := bytes.TrimRight(r.buf[r.begin:r.begin+i], "\r")
			r.begin += i + 1
			switch {
			case r.skipping:
				r.skipping = false
			case i+1 > most:
				return nil, errLong
			case len(line) > 0:
				return line, nil
			}
			continue
		}
		if r.n-r.begin >= most {
			r.begin = r.n
			if !r.skipping {
				r.skipping = true
				return nil, errLong
			}
		}
		if err := r.fill(most); err != nil {
			return nil, err
		}
	}
}

// fill reads more.
func (r *lineReader) fill(most int) error {
	if r.begin > 0 {
		r.n = copy(r.buf, r.buf[r.begin:r.n])
		r.begin = 0
	}
	if r.n == len(r.buf) {
		grown := make([]byte, min(max(2*len(r.buf), lineBytes), most))
		copy(grown, r.buf)
		r.buf = grown
	}
	n, err := r.from.Read(r.buf[r.n:])
	r.n += n
	if n > 0 {
		return nil
	}
	return err
}

// pace slows a client down.
type pace struct {
	left float64
	at   time.Time
}

// wait takes one turn, and returns how long to wait for it.
func (p *pace) wait(now time.Time) time.Duration {
	if p.at.IsZero() {
		p.left = burst
	} else {
		p.left = min(burst, p.left+float64(now.Sub(p.at))/float64(every))
	}
	p.at = now
	p.left--
	if p.left >= 0 {
		return 0
	}
	return time.Duration(-p.left * float64(every))
}
