package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

const (
	progressWidth = 40                     // characters
	progressEvery = 100 * time.Millisecond // it is written at most so often
)

// progress shows on a terminal how much of a long work is done. Anywhere else, and as nil, it
// shows nothing.
type progress struct {
	to    io.Writer
	shown time.Time
}

// newProgress returns the progress that is shown on a writer.
func newProgress(to io.Writer) *progress {
	if !isTerminal(to) {
		return nil
	}
	return &progress{to: to}
}

// show shows a part of the whole, from 0 to 1.
func (p *progress) show(part float64) {
	if p == nil || part < 1 && time.Since(p.shown) < progressEvery {
		return
	}
	p.shown = time.Now()
	part = min(max(part, 0), 1)
	done := int(part * progressWidth)
	fmt.Fprintf(p.to, "\r[%s%s] %3.0f %%", strings.Repeat("#", done), strings.Repeat(".", progressWidth-done), 100*part)
}

// end takes it off the terminal.
func (p *progress) end() {
	if p != nil {
		fmt.Fprintf(p.to, "\r\x1b[K")
	}
}

// reading returns a reader that shows how much of all bytes was read. If all is not known (below
// 1), it shows nothing.
func (p *progress) reading(from io.Reader, all int64) io.Reader {
	if p == nil || all < 1 {
		return from
	}
	return &watched{from: from, all: all, progress: p}
}

type watched struct {
	from      io.Reader
	read, all int64
	progress  *progress
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.from.Read(b)
	w.read += int64(n)
	w.progress.show(float64(w.read) / float64(w.all))
	return n, err
}
