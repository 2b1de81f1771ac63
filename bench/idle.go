package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// settled is how long a server is left idle before its memory is read.
const settled = 2 * time.Second

// Idle is the memory that idle connections take.
type Idle struct {
	Receive     Protocol `json:"receive"`
	Connections int      `json:"connections"`
	PID         int      `json:"pid"`
	Before      uint64   `json:"before_bytes"` // resident memory, without pages of files
	After       uint64   `json:"after_bytes"`
	Each        float64  `json:"bytes_each"`
}

// MeasureIdle opens a connection for each receiver, which joins its channel, and measures
// how the server's resident memory grows. The pages of its program do not count: what is there of them has
// other reasons. A few connections are opened before the measurement, so that memory which the
// server takes only once does not count either.
func MeasureIdle(ctx context.Context, o Options) (*Idle, error) {
	o.Publish, o.Publishers = MQTT, 1 // unused
	if o.Receive != MQTT {
		o.Publish = o.Receive
	}
	few := o
	few.Receivers = 10
	first, err := prepare(few)
	if err != nil {
		return nil, err
	}
	defer first.close()
	r, err := prepare(o)
	if err != nil {
		return nil, err
	}
	defer r.close()
	pid := r.pid()
	if pid == 0 {
		return nil, errors.New("the server's process is not known: it has to be on this machine; --pid names it")
	}
	out := &Idle{Receive: r.opts.Receive, PID: pid, Connections: r.opts.Receivers}
	if err := first.settle(ctx); err != nil {
		return nil, err
	}
	if out.Before, err = anonymous(pid); err != nil {
		return nil, err
	}
	if err := r.settle(ctx); err != nil {
		return nil, err
	}
	if out.After, err = anonymous(pid); err != nil {
		return nil, err
	}
	out.Each = (float64(out.After) - float64(out.Before)) / float64(out.Connections)
	return out, nil
}

// settle opens and joins all receivers, and waits until the server is at rest.
func (r *run) settle(ctx context.Context) error {
	r.members = make([]member, r.opts.Receivers)
	p := plan{channels: r.opts.Channels, receivers: r.opts.Receivers}
	err := r.inParallel(ctx, len(r.members), func(i int) error {
		c, err := r.dial(r.opts.Receive, i)
		if err != nil {
			return err
		}
		r.members[i].conn = c
		return c.join(r.channelsOf(p.joins(i)))
	})
	if err != nil {
		return err
	}
	return r.wait(ctx, time.Now(), settled)
}

// JSON returns the result as one line of JSON.
func (i *Idle) JSON() ([]byte, error) {
	b, err := json.Marshal(i)
	return append(b, '\n'), err
}

// Table returns the result as a text for people.
func (i *Idle) Table() string {
	return fmt.Sprintf("%d × %s idle: %.2f KiB each (%.1f MiB without pages of files, before %.1f MiB)\n",
		i.Connections, i.Receive, i.Each/1024, float64(i.After)/(1<<20), float64(i.Before)/(1<<20))
}
