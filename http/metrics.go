package http

import (
	nethttp "net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/callback"
)

// metrics shows the counters of the hub, the streams and the callbacks to Prometheus. It
// reads them at each scrape.
type metrics struct {
	hub       *bridge.Hub
	gate      *auth.Gate
	streams   *streams
	callbacks *callback.Service
	devices   func() map[string]int                                // nil: there are none
	mqtt      func() (now map[string]int, moved map[string]uint64) // nil: there are none
	ready     func() error                                         // nil: it always is
	apart     func() error                                         // nil: it never is
	leases    func() []bridge.LeaseHolder
	mapSkips  func() map[string]uint64 // nil: there are no maps
	foreign   Foreign                  // nil: there is none
	backup    func() time.Time         // nil: it is not known
}

var (
	messagesIn    = describeMetric("messages_in_total", "Messages taken in, one for each channel and receiver.", "protocol")
	messagesOut   = describeMetric("messages_out_total", "Messages handed to the receivers' own queues.", "protocol")
	mapSkips      = describeMetric("map_skips_total", "Messages that a channel's map let alone, as it is meant to.", "outcome")
	drops         = describeMetric("drops_total", "Messages, frames and requests that were dropped.", "protocol", "reason")
	refusals      = describeMetric("refused_total", "Wrong keys, passwords, tokens and senders, and who was not let try.", "protocol", "reason")
	attachments   = describeMetric("members", "What holds senders on channels: streams, callbacks, subscriptions, registrations.", "protocol")
	sendersKnown  = describeMetric("senders", "Senders that are known.")
	readyNow      = describeMetric("ready", "1 while the gateway can do its work, else 0: /readyz says why.")
	backupTaken   = describeMetric("backup_timestamp_seconds", "When an operator took the last backup, in Unix time; 0: nobody has.")
	sessions      = describeMetric("device_sessions", "Sessions of devices on UDP and TCP, by the key that let them in.", "key")
	mqttSessions  = describeMetric("mqtt_sessions", "MQTT sessions, by whether their clients are connected.", "client")
	unconfirmed   = describeMetric("unconfirmed_messages", "Messages that wait until others say the same.")
	takeovers     = describeMetric("mqtt_takeovers_total", "MQTT connections that were ended by another with their client id.")
	queueMessages = describeMetric("queue_messages", "Messages that wait for a protocol's fan-out.", "protocol")
	busSeconds    = describeMetric("bus_seconds", "Time from the taking of a message to the queues of a protocol's members.", "protocol")
	streamsOpen   = describeMetric("streams", "Streams that are open.", "kind")
	streamWaiting = describeMetric("stream_queue_messages", "Messages that wait for streams.")
	callbackTries = describeMetric("callbacks_total", "Deliveries to callbacks, and attempts that were followed by another.", "outcome")
	callbackQueue = describeMetric("callback_queue_messages", "Messages that wait for callbacks.")
	callbackBytes = describeMetric("callback_bytes", "Bytes of what waits for callbacks, and of what was given up and is kept.")
)

// What the other gateways said, by the name of each.
var (
	peerMessages = describeMetric("peer_messages_total", "Messages that another gateway said.", "gateway")
	peerLost     = describeMetric("peer_lost_total", "Messages and changes of another gateway that it kept no more when they were missed.", "gateway")
	peerResent   = describeMetric("peer_resent_total", "Messages and changes of another gateway that were missed and asked for again.", "gateway")
	peerRepeated = describeMetric("peer_repeated_total", "Messages and changes of another gateway that came twice, and were dropped.", "gateway")
	peerHere     = describeMetric("peer_up", "1 while another gateway is heard, else 0.", "gateway")
	peerBehind   = describeMetric("peer_behind_bytes", "What was said here that another gateway has not told us it has.", "gateway")
	clusterReady = describeMetric("cluster_ready", "1 while the gateway shares its channels and names, else 0: /readyz says why.")
	mqttMoved    = describeMetric("mqtt_sessions_moved_total", "MQTT sessions that came from other gateways, of those the ones without all that waited, those adopted from a gateway that was gone, and those given to others.", "how")
	leaseHeld    = describeMetric("lease_held", "1 if the gateway does what only one of those that share their channels does, else 0.", "lease")
	peerUnsent   = describeMetric("peer_unsent_total", "Messages and changes here that were let go before they could be sent to other gateways.")
)

// What becomes of the channels at a foreign broker.
var (
	foreignUp      = describeMetric("remote_up", "1 while the channels stand on the foreign broker, else 0: /readyz says why.")
	foreignRemoved = describeMetric("remote_retained_removed_total", "Retained messages on channels that were removed at the foreign broker.")
	foreignDropped = describeMetric("remote_broker_dropped_total", "Messages of all its clients that the foreign broker has dropped, as it says.")
)

func describeMetric(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("watchtower_"+name, help, labels, nil)
}

// ofGo has the metrics of the process's Go runtime: one for all servers, because making it takes a
// megabyte.
var ofGo = sync.OnceValue(func() prometheus.Collector { return collectors.NewGoCollector() })

// newMetrics returns the handler for Prometheus, and the counter of refused requests.
func newMetrics(m *metrics) (nethttp.Handler, *prometheus.CounterVec) {
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "watchtower_requests_refused_total",
		Help: "HTTP requests, and messages on WebSockets, that were answered with a problem, by status.",
	}, []string{"status"})
	registry := prometheus.NewRegistry()
	registry.MustRegister(m, refused, ofGo(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), refused
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(to chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, to) }

// Collect implements prometheus.Collector.
func (m *metrics) Collect(to chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	counters, links := m.hub.Counters(), m.hub.Directory().Links()
	members, senders := m.hub.Directory().Counts()
	gauge(sendersKnown, senders)
	ready := 1
	if m.ready != nil && m.ready() != nil {
		ready = 0
	}
	gauge(readyNow, ready)
	if m.backup != nil {
		taken := 0
		if at := m.backup(); !at.IsZero() {
			taken = int(at.Unix())
		}
		gauge(backupTaken, taken)
	}
	if m.devices != nil {
		for key, n := range m.devices() {
			gauge(sessions, n, key)
		}
	}
	if m.mqtt != nil {
		now, moved := m.mqtt()
		for client, n := range now {
			gauge(mqttSessions, n, client)
		}
		for how, n := range moved {
			counter(mqttMoved, n, how)
		}
	}
	waiting := 0
	for _, n := range m.hub.Directory().HalfConfirmed() {
		waiting += n
	}
	gauge(unconfirmed, waiting)
	counter(takeovers, counters.Takeovers())
	if m.mapSkips != nil {
		for outcome, n := range m.mapSkips() {
			counter(mapSkips, n, outcome)
		}
	}
	for _, p := range bridge.Protocols() {
		in, out := counters.Messages(p)
		counter(messagesIn, in, p.String())
		counter(messagesOut, out, p.String())
		for _, why := range bridge.Reasons() {
			counter(drops, counters.Dropped(p, why), p.String(), why.String())
		}
		for _, why := range auth.Reasons {
			counter(refusals, m.gate.Refused(p, why), p.String(), why.String())
		}
		gauge(attachments, members[p], p.String())
		if l := links[p]; l != nil {
			gauge(queueMessages, l.Queued(), p.String())
			to <- latencyOf(counters, p)
		}
	}
	if m.foreign != nil {
		up := 1
		if m.foreign.Healthy() != nil {
			up = 0
		}
		gauge(foreignUp, up)
		counter(foreignRemoved, m.foreign.Removed())
		counter(foreignDropped, m.foreign.Dropped())
	}
	if own, several := m.hub.Peers().Own(); several {
		counter(peerUnsent, own.Unsent)
		together := 1
		if m.apart != nil && m.apart() != nil {
			together = 0
		}
		gauge(clusterReady, together)
		for _, l := range m.leases() {
			held := 0
			if l.Slot == own.Slot {
				held = 1
			}
			gauge(leaseHeld, held, l.Name)
		}
	}
	named := map[string]bool{} // of two with one name, the later ends soon
	for _, o := range m.hub.Peers().Others() {
		if named[o.Name] {
			continue
		}
		named[o.Name] = true
		counter(peerMessages, o.Messages, o.Name)
		counter(peerLost, o.Lost, o.Name)
		counter(peerResent, o.Resent, o.Name)
		counter(peerRepeated, o.Repeated, o.Name)
		up := 0
		if o.Here {
			up = 1
		}
		gauge(peerHere, up, o.Name)
		gauge(peerBehind, o.Behind, o.Name)
	}
	of, waiting := m.streams.count()
	for kind, n := range of {
		gauge(streamsOpen, n, kind)
	}
	gauge(streamWaiting, waiting)
	waiting, held := m.callbacks.Queued()
	gauge(callbackQueue, waiting)
	gauge(callbackBytes, held)
	m.callbacks.Outcomes(func(outcome string, n uint64) { counter(callbackTries, n, outcome) })
}

func latencyOf(c *bridge.Counters, p bridge.Protocol) prometheus.Metric {
	n, sum, atMost := c.Latency(p)
	buckets := map[float64]uint64{}
	for i, bound := range bridge.LatencyBounds {
		buckets[bound.Seconds()] = atMost[i]
	}
	return prometheus.MustNewConstHistogram(busSeconds, n, sum.Seconds(), buckets, p.String())
}

// showMetrics answers GET /metrics.
func (s *Server) showMetrics(w nethttp.ResponseWriter, r *nethttp.Request) error {
	s.deadline(w)
	s.metrics.ServeHTTP(w, r)
	return nil
}
