package bridge

import (
	"context"
	"sync/atomic"
	"time"
)

// Job is one message and the members of one protocol that it is for. To is
// shared and is not to be changed; Attachment.Wants says which of them take it.
type Job struct {
	Message *Message
	To      []*Attachment
}

// Done tells the delivery report, if there is one, and the counters how the
// job went: offered counts the attachments tried, dropped those that lost it.
// It is called once for each job.
func (j Job) Done(c *Counters, p Protocol, offered, dropped int) {
	c.Out(p, offered-dropped)
	j.Message.Report(p, offered, dropped)
	j.Message.release()
}

// Link carries messages from the bus to one protocol. Publishers only put into
// its bounded queue; the protocol does its own fan-out from Run.
type Link struct {
	protocol Protocol
	counters *Counters
	jobs     chan Job
	patience time.Duration
	busy     atomic.Int64 // jobs queued or being fanned out
}

// linkBatch bounds how many jobs a fan-out gets at once.
const linkBatch = 64

// NewLink returns a link with room for size messages. A publisher that may wait
// does so for at most patience while the queue is full.
func NewLink(p Protocol, c *Counters, size int, patience time.Duration) *Link {
	return &Link{protocol: p, counters: c, jobs: make(chan Job, size), patience: patience}
}

// offer queues a job. It reports false, and counts the drops, if the queue
// stayed full.
func (l *Link) offer(j Job) bool {
	l.busy.Add(1)
	select {
	case l.jobs <- j:
		return true
	default:
	}
	if j.Message.Wait {
		t := time.NewTimer(l.patience)
		defer t.Stop()
		select {
		case l.jobs <- j:
			return true
		case <-t.C:
		}
	}
	l.busy.Add(-1)
	n := 0
	for _, a := range j.To {
		if a.Wants(j.Message) {
			n++
		}
	}
	l.counters.Drop(l.protocol, LinkFull, n)
	j.Done(l.counters, l.protocol, n, n)
	return false
}

// Run calls fan with the jobs that wait, a batch at a time and in their order,
// until ctx ends and the queue is empty. fan calls Done on each job, and must
// not block on a member.
func (l *Link) Run(ctx context.Context, fan func([]Job)) {
	batch := make([]Job, 0, linkBatch)
	for {
		select {
		case j := <-l.jobs:
			batch = append(batch[:0], j)
		case <-ctx.Done():
			select {
			case j := <-l.jobs:
				batch = append(batch[:0], j)
			default:
				return
			}
		}
	more:
		for len(batch) < linkBatch {
			select {
			case j := <-l.jobs:
				batch = append(batch, j)
			default:
				break more
			}
		}
		fan(batch)
		l.busy.Add(-int64(len(batch)))
		clear(batch)
	}
}

// Idle reports whether nothing is queued or being fanned out.
func (l *Link) Idle() bool { return l.busy.Load() == 0 }

// Queued returns how many messages wait.
func (l *Link) Queued() int { return len(l.jobs) }
