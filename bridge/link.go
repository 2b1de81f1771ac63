package bridge

import (
	"cmp"
	"context"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"watchtower/bridge/outbound"
)

// Job is one message, and attachments of the link's first protocol. Attachment.Wants says
// which of them take the message. To is shared: nobody changes it.
type Job struct {
	Message *Message
	To      []*Attachment
}

// Done tells the delivery report, if there is one, and the counters how the job went:
// offered counts the attachments tried, dropped those of them that lost the message. It
// is called once for each job of a link that has one protocol.
func (j Job) Done(c *Counters, p Protocol, offered, dropped int) {
	j.Count(c, p, offered, dropped)
	j.Release()
}

// Count and Release do the work of Done for a link that several protocols share: Count is
// called once for each protocol, and Release once, after the last Count.
func (j Job) Count(c *Counters, p Protocol, offered, dropped int) {
	c.Out(p, offered-dropped)
	if offered > dropped {
		c.latency[p].observe(time.Since(j.Message.Time))
	}
	j.Message.Report(p, offered, dropped)
}

// Release tells the delivery report that this job is done.
func (j Job) Release() { j.Message.release() }

// Link carries messages from the bus to one protocol. Publishers only put messages into
// its bounded queue; the protocol fans them out in Run.
type Link struct {
	protocol Protocol
	shared   []Protocol // the other protocols that it serves
	serves   protocolSet
	hub      *Hub // knows the members; nil: it is a tap
	counters *Counters
	jobs     chan Job
	patience time.Duration
	busy     atomic.Int64 // jobs queued or being fanned out
	handed   atomic.Int64 // jobs that were fanned out
	closed   atomic.Bool  // nobody takes jobs any more
	late     atomic.Bool  // a job came after it was closed
	crowded  atomic.Bool  // its queue is more than half full, or was

	atOnce func(*Message, *outbound.Round) bool // of TakeEverything; nil: it gets messages for its members only

	wants     func(*Message) bool // of a tap: which messages it takes; else nil
	bytesMost int64               // of a tap: the most bytes of messages that may wait
	bytes     atomic.Int64
}

// linkBatch bounds how many jobs a fan-out gets at once.
const linkBatch = 64

// NewLink returns a link with room for size messages. A publisher that may wait
// does so for at most patience while the queue is full.
func NewLink(p Protocol, c *Counters, size int, patience time.Duration) *Link {
	return &Link{protocol: p, counters: c, jobs: make(chan Job, size), patience: patience}
}

// Protocol is the first protocol that the link serves; of a tap, the one that counts its drops.
func (l *Link) Protocol() Protocol { return l.protocol }

// TakeEverything makes the link get every message, also those for none of its members. It
// is called once, before the first message.
//
// While the queue is empty, a message without members is given to atOnce, in the
// publisher's goroutine, so that no other has to be woken, with what that goroutine writes soon
// (nil: nothing). AtOnce waits for nothing. It returns false if the message has to go through the
// queue.
func (l *Link) TakeEverything(atOnce func(*Message, *outbound.Round) bool) {
	l.atOnce = atOnce
	l.hub.eager = append(l.hub.eager, l)
}

// HasMembers reports whether a message that is being delivered has members for this link now. They
// may be others than when it was published.
func (l *Link) HasMembers(m *Message) bool {
	if ch := m.on; m.Type == Broadcast && ch != nil && !ch.unknown.Load() {
		for p := range (ch.heededBy() & l.serves).all() {
			if len(ch.lists[p].load()) > 0 {
				return true
			}
		}
		return false
	}
	for p := range l.serves.all() {
		if len(l.hub.Receivers(m, p)) > 0 {
			return true
		}
	}
	return false
}

// takesAtOnce reports whether a message without members was taken. No earlier message of
// its publisher is in the queue, so the order is kept.
func (l *Link) takesAtOnce(m *Message, r *outbound.Round) bool {
	return l.busy.Load() == 0 && !l.closed.Load() && l.atOnce(m, r)
}

// AddTap returns a link for a part of the gateway that is no member; of 0 stands for the bus's
// protocol. It gets each
// broadcast for which wants returns true. AddTap is called before the first message.
// Publishers never wait for a tap: its queue holds size messages and so many bytes, and
// what does not fit counts as a drop of that protocol. Wants runs in the publisher's goroutine:
// it is quick, and changes nothing. A tap's jobs name no members.
func (h *Hub) AddTap(of Protocol, size, bytes int, wants func(*Message) bool) *Link {
	l := NewLink(cmp.Or(of, h.bus.Protocol()), &h.counters, size, 0)
	l.wants, l.bytesMost = wants, int64(bytes)
	h.taps = append(h.taps, l)
	return l
}

// tap offers a broadcast to the taps. They are not part of its delivery report.
func (h *Hub) tap(m *Message) {
	for _, l := range h.taps {
		if !l.wants(m) {
			continue
		}
		m.retain()
		if l.bytes.Add(int64(len(m.Data))) > l.bytesMost {
			l.bytes.Add(-int64(len(m.Data)))
			l.busy.Add(1)
			l.reject(Job{Message: m})
			continue
		}
		if !l.offer(Job{Message: m}) {
			l.bytes.Add(-int64(len(m.Data)))
		}
	}
}

// offer queues a job. It reports false, and counts the drops, if the queue
// stayed full.
func (l *Link) offer(j Job) bool {
	l.busy.Add(1)
	if !l.queue(j) {
		l.reject(j)
		return false
	}
	if l.closed.Load() { // closed meanwhile: Run may not have seen the job
		l.rejectQueued()
		return false
	}
	return true
}

// queue puts a job into the queue. It waits for room if the message allows that.
func (l *Link) queue(j Job) bool {
	select {
	case l.jobs <- j:
		l.fills()
		return true
	default:
	}
	left := min(l.patience, time.Until(j.Message.patience))
	if !j.Message.Wait || left <= 0 || l.closed.Load() {
		return false
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case l.jobs <- j:
		l.fills()
		return true
	case <-t.C:
		return false
	}
}

// fills tells the hub of a queue that is more than half full, and empties of one that is so no more.
func (l *Link) fills() {
	if l.hub != nil && 2*len(l.jobs) > cap(l.jobs) && !l.crowded.Load() && l.crowded.CompareAndSwap(false, true) {
		l.hub.crowded.Add(1)
	}
}

func (l *Link) empties() {
	if l.crowded.Load() && 2*len(l.jobs) <= cap(l.jobs) && l.crowded.CompareAndSwap(true, false) {
		l.hub.crowded.Add(-1)
	}
}

// reject counts a job that nobody delivers.
func (l *Link) reject(j Job) {
	if l.wants != nil {
		l.counters.Drop(l.protocol, LinkFull, 1)
	}
	if l.closed.Load() {
		l.late.Store(true)
	}
	l.miss(j, l.protocol, j.To)
	for _, p := range l.shared {
		l.miss(j, p, l.hub.Receivers(j.Message, p))
	}
	j.Release()
	l.busy.Add(-1)
}

// miss counts a job that the members of a protocol do not get.
func (l *Link) miss(j Job, p Protocol, members []*Attachment) {
	n := 0
	for _, a := range members {
		if a.Wants(j.Message) {
			n++
		}
	}
	l.counters.Drop(p, LinkFull, n)
	j.Count(l.counters, p, n, n)
}

func (l *Link) rejectQueued() {
	for {
		select {
		case j := <-l.jobs:
			l.reject(j)
		default:
			return
		}
	}
}

// Run calls fan with the waiting jobs, in their order and in batches, until ctx ends and
// the queue is empty. Fan calls Done on each job, and must not block on a member. After
// Run, jobs that are offered are refused.
func (l *Link) Run(ctx context.Context, fan func([]Job)) {
	batch := make([]Job, 0, linkBatch)
	for {
		select {
		case j := <-l.jobs:
			l.hand(append(batch, j), fan)
		case <-ctx.Done():
			l.Flush(fan)
			l.closed.Store(true)
			l.rejectQueued()
			return
		}
	}
}

// Flush calls fan with the jobs that wait now, in batches, and returns.
func (l *Link) Flush(fan func([]Job)) {
	batch := make([]Job, 0, linkBatch)
	for {
		select {
		case j := <-l.jobs:
			l.hand(append(batch, j), fan)
		default:
			return
		}
	}
}

// hand adds more waiting jobs to a batch, and fans it out.
func (l *Link) hand(batch []Job, fan func([]Job)) {
	batch = l.fill(batch)
	if len(batch) < linkBatch/4 {
		runtime.Gosched() // lets current publishers go on: one system call then serves them all
		batch = l.fill(batch)
	}
	held := 0
	if l.wants != nil {
		for _, j := range batch {
			held += len(j.Message.Data)
		}
	}
	fan(batch)
	l.empties()
	l.bytes.Add(-int64(held))
	l.handed.Add(int64(len(batch))) // before busy: see Passed
	l.busy.Add(-int64(len(batch)))
	clear(batch)
}

func (l *Link) fill(batch []Job) []Job {
	for len(batch) < linkBatch {
		select {
		case j := <-l.jobs:
			batch = append(batch, j)
		default:
			return batch
		}
	}
	return batch
}

// Idle reports whether nothing is queued or being fanned out.
func (l *Link) Idle() bool { return l.busy.Load() == 0 }

// Passed returns a function that reports whether all that is queued or being fanned out now has been
// fanned out. It does not wait for what comes later, as Idle does: under a lasting load a link is
// hardly ever idle.
func (l *Link) Passed() func() bool {
	until := l.busy.Load()
	until += l.handed.Load() // read afterwards: what was fanned out meanwhile may count twice, but is not left out
	return func() bool { return l.Idle() || l.handed.Load() >= until }
}

// Late reports whether a job was refused because it came after Run had ended.
func (l *Link) Late() bool { return l.late.Load() }

// Queued returns how many messages wait.
func (l *Link) Queued() int { return len(l.jobs) }

// HasRoom reports whether no protocol's queue is more than half full, and the other gateways
// keep up: a message that is delivered now need not wait for room.
func (d Directory) HasRoom() bool {
	h := d.hub
	if h.crowded.Load() > 0 && slices.ContainsFunc(h.served, func(l *Link) bool { return 2*len(l.jobs) > cap(l.jobs) }) {
		return false
	}
	return h.backplane == nil || h.backplane.HasRoom()
}
