package operator

import (
	nethttp "net/http"
	"slices"
	"sync"
	"time"

	"watchtower/bridge"
)

// An hour of samples is kept, so a page's chart is full when it opens.
const (
	sampleEvery = 2 * time.Second
	samplesKept = int(time.Hour / sampleEvery)
	usualSpan   = 5 * time.Minute
)

// sample is what happened within sampleEvery, and what there was at its end.
type sample struct {
	in, out, joined []uint32 // by protocol, as bridge.Protocols lists them
	p50, p99        float32  // milliseconds that messages took through the gateway; negative: there were none
	waiting         uint32   // messages, in all queues
	drops           []dropped
}

// dropped is how many drops a protocol had for a reason.
type dropped struct {
	via bridge.Protocol
	why bridge.Reason
	n   uint64
}

// totals are the counters as they were at the last sample.
type totals struct {
	in, out [bridge.MostProtocols]uint64
	drops   [bridge.MostProtocols][bridge.MostReasons]uint64
	delays  [len(bridge.LatencyBounds) + 1]uint64
}

// recorder keeps the samples of the last hour.
type recorder struct {
	hub     *bridge.Hub
	waiting func() int

	mu    sync.Mutex
	ring  []sample // at most samplesKept; the oldest is at next once it is full
	next  int
	until time.Time // when the last sample ended
	last  totals
}

func newRecorder(hub *bridge.Hub, waiting func() int) *recorder {
	return &recorder{hub: hub, waiting: waiting}
}

// record takes a sample.
func (rec *recorder) record(now time.Time) {
	s := sample{waiting: uint32(rec.waiting()), p50: -1, p99: -1}
	counters := rec.hub.Counters()
	joined, _ := rec.hub.Directory().Counts()
	var delays [len(bridge.LatencyBounds) + 1]uint64
	rec.mu.Lock()
	defer rec.mu.Unlock()
	for _, p := range bridge.Protocols() {
		in, out := counters.Messages(p)
		s.in = append(s.in, since(&rec.last.in[p], in))
		s.out = append(s.out, since(&rec.last.out[p], out))
		s.joined = append(s.joined, uint32(joined[p]))
		for _, why := range bridge.Reasons() {
			if n := since(&rec.last.drops[p][why], counters.Dropped(p, why)); n > 0 {
				s.drops = append(s.drops, dropped{p, why, uint64(n)})
			}
		}
		n, _, atMost := counters.Latency(p)
		below := uint64(0)
		for i, to := range append(atMost[:], n) {
			delays[i] += to - below
			below = to
		}
	}
	var fresh [len(delays)]uint64
	for i := range delays {
		fresh[i] = uint64(since(&rec.last.delays[i], delays[i]))
	}
	s.p50, s.p99 = percentile(fresh[:], 0.5), percentile(fresh[:], 0.99)
	if len(rec.ring) < samplesKept {
		rec.ring = append(rec.ring, s)
	} else {
		rec.ring[rec.next] = s
		rec.next = (rec.next + 1) % samplesKept
	}
	rec.until = now
}

// since returns how much a counter grew, and notes its value.
func since(last *uint64, now uint64) uint32 {
	grown := now - *last
	*last = now
	return uint32(grown)
}

// percentile returns the upper bound, in milliseconds, of the bucket in which that part of
// all ends; of the last bucket, the bound of the one before it.
func percentile(buckets []uint64, part float64) float32 {
	all := uint64(0)
	for _, n := range buckets {
		all += n
	}
	if all == 0 {
		return -1
	}
	seen := uint64(0)
	for i, n := range buckets {
		if seen += n; float64(seen) >= part*float64(all) {
			bound := bridge.LatencyBounds[min(i, len(bridge.LatencyBounds)-1)]
			return float32(bound.Seconds() * 1000)
		}
	}
	return -1
}

// recent returns the samples of a span, the oldest first, when the first began, and the drops
// of all time up to the end of the last.
func (rec *recorder) recent(span time.Duration) (samples []sample, from time.Time, drops [bridge.MostProtocols][bridge.MostReasons]uint64) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	n := min(len(rec.ring), int(span/sampleEvery))
	samples = slices.Concat(rec.ring[rec.next:], rec.ring[:rec.next])
	samples = samples[len(samples)-n:]
	return samples, rec.until.Add(-time.Duration(n) * sampleEvery), rec.last.drops
}

// rates are the samples of a span as an answer has them.
type rates struct {
	Every  float64             `json:"every"` // seconds
	From   time.Time           `json:"from"`
	In     map[string][]uint32 `json:"in"`     // messages, by protocol
	Out    map[string][]uint32 `json:"out"`    // deliveries
	Joined map[string][]uint32 `json:"joined"` // memberships
	Delay  struct {
		P50 []*float32 `json:"p50"` // milliseconds; null: nothing was said
		P99 []*float32 `json:"p99"`
	} `json:"delay"`
	Waiting []uint32 `json:"waiting"`
	Drops   []drop   `json:"drops"`
}

// drop is what was lost of a protocol, for one reason: in the span and since its end, and
// since the start.
type drop struct {
	Via    string `json:"via"`
	Reason string `json:"reason"`
	Recent uint64 `json:"recent"`
	Total  uint64 `json:"total"`
}

// rates returns what happened in a span.
func (rec *recorder) rates(span time.Duration) rates {
	samples, from, counted := rec.recent(span)
	r := rates{
		Every: sampleEvery.Seconds(), From: from.UTC().Truncate(time.Millisecond),
		In: map[string][]uint32{}, Out: map[string][]uint32{}, Joined: map[string][]uint32{}, Waiting: []uint32{}, Drops: []drop{},
	}
	r.Delay.P50, r.Delay.P99 = []*float32{}, []*float32{}
	var recent [bridge.MostProtocols][bridge.MostReasons]uint64
	for _, s := range samples {
		for i, p := range bridge.Protocols() {
			name := p.String()
			r.In[name] = append(r.In[name], s.in[i])
			r.Out[name] = append(r.Out[name], s.out[i])
			r.Joined[name] = append(r.Joined[name], s.joined[i])
		}
		r.Delay.P50 = append(r.Delay.P50, orNull(s.p50))
		r.Delay.P99 = append(r.Delay.P99, orNull(s.p99))
		r.Waiting = append(r.Waiting, s.waiting)
		for _, d := range s.drops {
			recent[d.via][d.why] += d.n
		}
	}
	for _, p := range bridge.Protocols() {
		for _, why := range bridge.Reasons() {
			if total := rec.hub.Counters().Dropped(p, why); total > 0 {
				r.Drops = append(r.Drops, drop{p.String(), why.String(), recent[p][why] + total - counted[p][why], total})
			}
		}
	}
	return r
}

func orNull(v float32) *float32 {
	if v < 0 {
		return nil
	}
	return &v
}

// showRates answers GET /operator/rates.
func (s *Service) showRates(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r, "span"); err != nil {
		return err
	}
	span := usualSpan
	if r.URL.Query().Has("span") {
		text := r.URL.Query().Get("span")
		var err error
		if span, err = time.ParseDuration(text); err != nil || span < sampleEvery || span > time.Hour {
			return fault(invalidQuery, "span", "must be a time from 2s to 1h, such as 5m, is %q", bridge.Shorten(text))
		}
	}
	return s.answer(w, s.recorder.rates(span))
}
