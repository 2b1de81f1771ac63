package outbound

import (
	"math/bits"
	"sync"
)

// Queue is a Source of frames in their order, bounded in number and bytes.
// Frames are shared: nobody changes them. Its methods may be called from any
// goroutine.
type Queue struct {
	maxFrames, maxBytes int
	stamp               Stamp

	mu     sync.Mutex
	frames Fifo[marked]
	bytes  int
	closed bool
}

// Stamp appends a frame to buf in the form for this queue's receiver. Mark is the one
// that the frame was put with. The queue's lock is held.
type Stamp func(buf, frame []byte, mark uint64) []byte

// marked is a frame with its mark for Stamp. A frame with mark 0 is copied as it is.
type marked struct {
	frame []byte
	mark  uint64
}

// NewQueue returns a queue with room for so many frames and bytes.
func NewQueue(maxFrames, maxBytes int) *Queue {
	return &Queue{maxFrames: maxFrames, maxBytes: maxBytes, frames: Fifo[marked]{From: &framePool}}
}

var framePool Pool[marked]

// SetStamp sets the function that writes frames with a mark. It is called once, before
// the first of them.
func (q *Queue) SetStamp(s Stamp) { q.stamp = s }

// Put adds a frame. It reports false, and adds nothing, if the queue is full or closed.
// An empty queue takes a frame of any size.
func (q *Queue) Put(frame []byte) bool { return q.PutMarked(frame, 0) }

// PutAll puts each frame whose bit is set in wanted. It returns the bits of the frames
// for which there was no room.
func (q *Queue) PutAll(frames *[64][]byte, wanted uint64) (lost uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for left := wanted; left != 0; left &= left - 1 {
		i := bits.TrailingZeros64(left)
		if !q.putLocked(frames[i], 0) {
			lost |= 1 << i
		}
	}
	return lost
}

// PutMarked is Put for a frame that Stamp writes.
func (q *Queue) PutMarked(frame []byte, mark uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.putLocked(frame, mark)
}

func (q *Queue) putLocked(frame []byte, mark uint64) bool {
	n := q.frames.Len()
	if q.closed || n >= q.maxFrames || (n > 0 && q.bytes+len(frame) > q.maxBytes) {
		return false
	}
	q.frames.Push(&marked{frame, mark})
	q.bytes += len(frame)
	return true
}

// Fill takes frames out of the queue, until they are a batch or more.
func (q *Queue) Fill(buf []byte) []byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.frames.Len() > 0 && len(buf) < batchBytes {
		f := q.frames.At(0)
		if f.mark == 0 {
			buf = append(buf, f.frame...)
		} else {
			buf = q.stamp(buf, f.frame, f.mark)
		}
		q.bytes -= len(f.frame)
		q.frames.RemoveAt(0)
	}
	return buf
}

// Len returns how many frames wait.
func (q *Queue) Len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.frames.Len()
}

// Close makes the queue refuse frames, and returns how many were never taken.
// It returns 0 when called again.
func (q *Queue) Close() (left int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	left = q.frames.Len()
	q.frames.Clear()
	q.closed, q.bytes = true, 0
	return left
}
