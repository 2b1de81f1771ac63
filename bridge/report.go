package bridge

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"
)

// Report says how one broadcast or send went, counted per attachment. It is made once
// every protocol has done its fan-out, here and at the other gateways.
type Report struct {
	ID       ulid.ULID
	Channels []Channel
	Sender   SenderID
	Offered  map[string]int // by protocol; protocols with none are absent
	Dropped  map[string]int
	Missing  []string // other gateways that have not told their part in time, by name; nil: none
}

// report gathers a Report while the links work. Each holder of a reference
// releases it once; the last one completes the report.
type report struct {
	refs    atomic.Int64
	offered [MostProtocols]atomic.Int64
	dropped [MostProtocols]atomic.Int64
	base    Report
	within  time.Duration // how long it waits for other gateways
	done    func(Report)

	mu      sync.Mutex
	missing []string
}

func newReport(base Report, within time.Duration, done func(Report)) *report {
	r := &report{base: base, within: within, done: done}
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
	slices.Sort(r.missing)
	out.Missing = slices.Compact(r.missing)
	r.done(out)
}

func (r *report) add(p Protocol, offered, dropped int) {
	r.offered[p].Add(int64(offered))
	r.dropped[p].Add(int64(dropped))
}

// Report adds to the message's delivery report, if its sender asked for one.
func (m *Message) Report(p Protocol, offered, dropped int) {
	if m.report != nil {
		m.report.add(p, offered, dropped)
	}
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

// HasReport reports whether the message's sender asked for a delivery report.
func (m *Message) HasReport() bool { return m.report != nil }

// WantReport has done called once with how the message of another gateway went here. It is
// called before Peers.Inject.
func (m *Message) WantReport(done func(Report)) {
	m.report = newReport(Report{ID: m.ID}, 0, done)
}

// Parts keeps a delivery report open for what other gateways tell, until Done.
type Parts struct{ report *report }

// Parts opens the message's delivery report for other gateways. The message has one.
func (m *Message) Parts() Parts {
	m.retain()
	return Parts{m.report}
}

// Within is how long the sender waits for other gateways.
func (p Parts) Within() time.Duration { return p.report.within }

// Add adds what another gateway has counted.
func (p Parts) Add(at Protocol, offered, dropped int) { p.report.add(at, offered, dropped) }

// Miss names a gateway that has not told its part in time.
func (p Parts) Miss(gateway string) {
	p.report.mu.Lock()
	defer p.report.mu.Unlock()
	p.report.missing = append(p.report.missing, gateway)
}

// Done ends it. It is called once.
func (p Parts) Done() { p.report.release() }
