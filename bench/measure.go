package bench

import (
	"context"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"watchtower/bench/processor"
)

// moment holds the figures of a run at one time.
type moment struct {
	at        int64 // by clock
	published uint64
	delivered uint64
	usage           // the server's; resident only of a process that tells it itself (see use)
	origin    usage // the publishers' gateway's, if there are two
}

func (r *run) moment(pid int) moment {
	m := moment{at: clock()}
	for _, f := range r.flights {
		m.published += f.published.Load()
	}
	for _, to := range r.members {
		m.delivered += to.ear.total.Load()
	}
	switch {
	case r.opts.Origin != nil:
		m.usage = r.use()
		m.origin = m.usage
		if r.origin.opts.URL != r.opts.URL {
			m.origin = r.origin.use()
		}
	case pid > 0:
		m.processor, _ = processor.Time(pid) // 0 once it has ended, which the deliveries show
	case r.opts.PID == 0:
		m.usage = r.use()
	}
	return m
}

// measure does the run that is set up, and returns the result.
func (r *run) measure(ctx context.Context) (*Result, error) {
	pid := r.pid()
	dropsBefore, lostBefore := r.drops(), udpDrops()
	listening, stopListening := context.WithCancel(context.Background())
	defer stopListening()
	r.listen(listening)
	publishing, stopPublishing := context.WithCancel(ctx)
	defer stopPublishing()
	var speaking sync.WaitGroup
	for _, p := range r.publishers {
		speaking.Go(func() { r.failed(p.publish(publishing)) })
	}
	from, to, memory, err := r.watch(ctx, pid)
	stopPublishing()
	speaking.Wait()
	if err == nil {
		err = r.land(ctx)
	}
	settled := uint64(0)
	if err == nil {
		settled = r.memoryLater(ctx, pid)
	}
	dropsAfter, lostAfter := r.drops(), udpDrops()
	ports := r.ports()
	stopListening()
	r.hangUp()
	if err != nil {
		return nil, err
	}
	res := r.result(from, to)
	if pid > 0 || to.resident > 0 {
		to.resident = max(memory, to.resident)
		res.Server = costs(pid, from, to, from.usage, to.usage)
		res.Server.Settled = settled
	}
	if to.origin.resident > 0 {
		res.Origin = costs(pid, from, to, from.origin, to.origin)
	}
	r.explain(res, dropsAfter.since(dropsBefore), since(lostAfter, lostBefore), ports)
	return res, nil
}

// memoryLater returns the server's resident memory some time after the load; 0: nobody wants to know.
func (r *run) memoryLater(ctx context.Context, pid int) uint64 {
	if r.opts.Settle == 0 {
		return 0
	}
	select {
	case <-ctx.Done(): // the run is over soon
	case <-time.After(r.opts.Settle):
	}
	if pid == 0 {
		return r.use().resident
	}
	memory, _ := resident(pid) // 0 once it has ended
	return memory
}

// watch waits for the warm-up, and returns the moments when the measured time begins and
// ends.
func (r *run) watch(ctx context.Context, pid int) (from, to moment, memory uint64, err error) {
	begin := time.Now()
	if err := r.wait(ctx, begin, r.opts.WarmUp); err != nil {
		return from, to, 0, err
	}
	r.recording.Store(true)
	from = r.moment(pid)
	err = r.wait(ctx, begin, r.opts.WarmUp+r.opts.Duration)
	r.recording.Store(false)
	to = r.moment(pid)
	if pid > 0 {
		memory, _ = resident(pid) // as with its time
	}
	return from, to, memory, err
}

// wait waits until a time after the begin of the run, and reports the progress.
func (r *run) wait(ctx context.Context, begin time.Time, until time.Duration) error {
	end := time.NewTimer(time.Until(begin.Add(until)))
	defer end.Stop()
	tick := time.NewTicker(time.Second / 20)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end.C:
			return nil
		case <-tick.C:
			if r.opts.Progress != nil {
				all := r.opts.WarmUp + r.opts.Duration
				r.opts.Progress(min(1, float64(time.Since(begin))/float64(all)))
			}
		}
	}
}

// land waits until no message is out any more, or until the rest counts as lost. The
// publishers have ended before.
func (r *run) land(ctx context.Context) error {
	limit := time.NewTimer(r.opts.Timeout)
	defer limit.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !r.idle() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			for _, f := range r.flights {
				f.giveUp(clock() + 1)
			}
			return nil
		case <-tick.C:
		}
	}
	return nil
}

func (r *run) idle() bool {
	for _, f := range r.flights {
		if !f.idle() {
			return false
		}
	}
	return true
}

// pid returns the server's process, or 0 if it is not known, or if there are two.
func (r *run) pid() int {
	o := r.opts
	if o.Origin != nil {
		return 0
	}
	if o.PID != 0 {
		return max(o.PID, 0)
	}
	for _, at := range []struct{ network, address string }{{"tcp", r.host}, {"tcp", o.MQTTAddr}, {"tcp", o.TCPAddr}, {"udp", o.UDPAddr}} {
		if at.address != "" {
			return findPID(at.network, at.address)
		}
	}
	return 0
}

// ports returns the ports of the receivers' UDP sockets.
func (r *run) ports() (all []int) {
	for _, m := range r.members {
		if u, ok := m.conn.(interface{ port() int }); ok {
			all = append(all, u.port())
		}
	}
	return all
}

func since(after, before map[int]uint64) map[int]uint64 {
	out := map[int]uint64{}
	for port, n := range after {
		if n > before[port] {
			out[port] = n - before[port]
		}
	}
	return out
}

// result combines the counts of the receivers.
func (r *run) result(from, to moment) *Result {
	o := r.opts
	res := &Result{
		Publish: o.Publish, Receive: o.Receive, Publishers: o.Publishers, Receivers: len(r.members), Channels: o.Channels,
		Stalled: o.Stalled, Size: o.Size, QoS: o.QoS, Rate: o.Rate, Seconds: time.Duration(to.at - from.at).Seconds(),
		Settle: o.Settle.Seconds(),
	}
	if o.Rate == 0 {
		res.Window = o.Window
	}
	res.measuredPublishes, res.measuredDeliveries = to.published-from.published, to.delivered-from.delivered
	var all counts
	var times histogram
	for _, m := range r.members {
		all.add(m.ear.count)
		times.add(&m.ear.times)
	}
	for i, f := range r.flights {
		n := f.published.Load()
		res.Published += n
		res.Expected += r.plan.expected(i, n)
	}
	res.Delivered, res.Duplicates, res.Reordered = all.received, all.duplicates, all.reordered
	res.Corrupt, res.Foreign, res.Refused = all.corrupt, all.foreign, all.refused
	res.Lost = res.Expected - min(res.Expected, res.Delivered)
	res.Latency = latencies(&times)
	for _, err := range r.failures {
		res.Failures = append(res.Failures, err.Error())
	}
	slices.Sort(res.Failures)
	res.Failures = slices.Compact(res.Failures) // a server that ends fails them all alike
	return res
}

// costs returns what a process used in the measured time.
func costs(pid int, from, to moment, before, after usage) *Costs {
	used := after.processor - before.processor
	c := &Costs{PID: pid, Resident: after.resident}
	if n := to.delivered - from.delivered; n > 0 {
		c.PerDelivery = used.Seconds() * 1e6 / float64(n)
	}
	if n := to.published - from.published; n > 0 {
		c.PerPublish = used.Seconds() * 1e6 / float64(n)
	}
	c.Processors = used.Seconds() / time.Duration(to.at-from.at).Seconds()
	return c
}

// explain finds the reasons of a loss, and any other faults.
func (r *run) explain(res *Result, dropped drops, full map[int]uint64, ports []int) {
	res.Reasons = map[string]uint64{}
	for what, n := range dropped {
		res.Reasons[what] = n
	}
	known := dropped.deliveries() + dropped[peersLost]*uint64(r.plan.fanOut(0))
	// Drops for receivers that do not read explain no loss of the others.
	known -= min(known, res.Published*uint64(r.opts.Stalled))
	for _, p := range ports {
		if n := full[p]; n > 0 {
			res.Reasons["receive_buffer of the generator"] += n
			known += n
		}
	}
	if n := full[portOf(r.origin.opts.UDPAddr)]; n > 0 && r.opts.Publish.hears() {
		res.Reasons["receive_buffer of the server"] += n
		known += n * uint64(r.plan.fanOut(0))
	}
	res.Unexplained = res.Lost - min(res.Lost, known)
	res.judge()
}

func portOf(address string) int {
	_, text, _ := net.SplitHostPort(address)
	port, _ := strconv.Atoi(text) // without one there are no drops to be found
	return port
}

func latencies(h *histogram) Latency {
	at := func(q float64) float64 { return micros(h.quantile(q)) }
	return Latency{P50: at(0.5), P90: at(0.9), P99: at(0.99), Max: micros(time.Duration(h.max))}
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
