package bridge

import (
	"sync/atomic"

	"github.com/oklog/ulid/v2"
)

// Report says how one broadcast or send went, counted per attachment. It is made once
// every protocol has done its fan-out.
type Report struct {
	ID       ulid.ULID
	Channels []Channel
	Sender   SenderID
	Offered  map[string]int // by protocol; protocols with none are absent
	Dropped  map[string]int
}

// report gathers a Report while the links work. Each holder of a reference
// releases it once; the last one completes the report.
type report struct {
	refs    atomic.Int64
	offered [MostProtocols]atomic.Int64
	dropped [MostProtocols]atomic.Int64
	base    Report
	done    func(Report)
}

func newReport(base Report, done func(Report)) *report {
	r := &report{base: base, done: done}
	r.refs.Store(1)
	return r
}

func (r *report) release() {
	if r.refs.Add(-1) > 0 {
		return
	}
	out := r.base
	out.Offered, out.Dropped = map[string]int{}, map[string]int{}
	for _, p := range Protocols() {
		if n := r.offered[p].Load(); n > 0 {
			out.Offered[p.String()] = int(n)
		}
		if n := r.dropped[p].Load(); n > 0 {
			out.Dropped[p.String()] = int(n)
		}
	}
	r.done(out)
}

// Report adds to the message's delivery report, if its sender asked for one.
func (m *Message) Report(p Protocol, offered, dropped int) {
	if m.report == nil {
		return
	}
	m.report.offered[p].Add(int64(offered))
	m.report.dropped[p].Add(int64(dropped))
}

func (m *Message) retain() {
	if m.report != nil {
		m.report.refs.Add(1)
	}
}

func (m *Message) release() {
	if m.report != nil {
		m.report.release()
	}
}
