package outbound

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// Round is what one goroutine has yet to write: each connection that it put something
// for is written to once, with all that came together. Only goroutines that never wait may
// have one, because others rely on what it has noted. Its zero value is ready to use.
type Round struct {
	list []*Writer
	room *[]byte
}

// Note has a connection written to by the next Flush.
func (r *Round) Note(d *Writer) {
	if !d.noted.Load() && d.noted.CompareAndSwap(false, true) {
		r.list = append(r.list, d)
	}
}

// Write writes to one connection now.
func (r *Round) Write(d *Writer) {
	if r.room == nil {
		r.room = buffers.Get().(*[]byte)
	}
	d.flush(r.room)
}

// Flush writes to all noted connections.
func (r *Round) Flush() {
	for i, d := range r.list {
		r.Write(d)
		r.list[i] = nil
	}
	r.list = r.list[:0]
}

// Share writes to the noted connections if there are most at most, and else leaves them to
// the crew: for a goroutine that has others to serve.
func (r *Round) Share(most int) {
	if len(r.list) > most {
		r.leave(0)
	}
	r.Flush()
}

// splitFrom is from how many connections on it is worth waking another goroutine.
const splitFrom = 64

// Split is Flush that leaves half of many connections to the crew, because another processor
// may be idle, and more than half if the goroutine would write to more than most itself.
func (r *Round) Split(most int) {
	n := len(r.list)
	if n >= splitFrom {
		n = min(n/2, most)
	}
	r.leave(n)
	r.Flush()
}

// leave leaves the noted connections from the n-th on to the crew.
func (r *Round) leave(n int) {
	for i, w := range r.list[n:] {
		w.shard.add(w)
		r.list[n+i] = nil
	}
	r.list = r.list[:n]
}

// Few is for Share, in a goroutine whose work is to hand out messages.
const Few = 8

// Rest gives back the memory that an idle goroutine does not need.
func (r *Round) Rest() {
	if r.room != nil {
		buffers.Put(r.room)
		r.room = nil
	}
	r.Trim()
}

// Trim gives back what a goroutine that is idle for a moment does not need, and keeps its batch.
func (r *Round) Trim() {
	if cap(r.list) > 1024 {
		r.list = nil
	}
}

// Crew writes for goroutines that must not: to wake it is cheap, however many connections
// there are. It has as many goroutines as there are processors, while there is something
// to write.
type Crew struct {
	shards []shard
	turn   atomic.Uint32
	active sync.WaitGroup
}

// shard is the part of the connections that one goroutine of the crew writes to.
type shard struct {
	crew    *Crew
	mu      sync.Mutex
	list    []*Writer
	running bool
	over    bool // Wait was called
}

// NewCrew returns a crew. It has no goroutine yet.
func NewCrew() *Crew {
	c := &Crew{shards: make([]shard, runtime.GOMAXPROCS(0))}
	for i := range c.shards {
		c.shards[i].crew = c
	}
	return c
}

// next returns the shards in turn.
func (c *Crew) next() *shard { return &c.shards[int(c.turn.Add(1))%len(c.shards)] }

// Wait returns when nothing is being written, and nothing will be: it is for the end, when all
// connections are closed. Their sessions may still get messages then.
func (c *Crew) Wait() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.over = true
		s.mu.Unlock()
	}
	c.active.Wait()
}

func (s *shard) add(d *Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	s.list = append(s.list, d)
	if !s.running {
		s.running = true
		s.crew.active.Go(s.run)
	}
}

func (s *shard) run() {
	var r Round
	defer r.Rest()
	for {
		runtime.Gosched() // lets present publishers go on: one write then takes what they all put
		s.mu.Lock()
		s.list, r.list = r.list, s.list
		if len(r.list) == 0 {
			s.running = false
			if cap(s.list) > 1024 {
				s.list = nil
			}
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		r.Flush()
	}
}
