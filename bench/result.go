package bench

import (
	"encoding/json"
	"fmt"
)

// Result is what a run measured. Counts are of the whole run with the warm-up; rates,
// latencies and costs are of the time after the warm-up.
type Result struct {
	Publish    Protocol `json:"publish"`
	Receive    Protocol `json:"receive"`
	Publishers int      `json:"publishers"`
	Receivers  int      `json:"receivers"`
	Channels   int      `json:"channels"`
	Stalled    int      `json:"stalled,omitempty"`
	Size       int      `json:"size"`
	QoS        byte     `json:"qos"`
	Rate       float64  `json:"rate"` // asked for, publishes per second; 0: flat out
	Window     int      `json:"window,omitempty"`
	Seconds    float64  `json:"seconds"`                  // measured
	Settle     float64  `json:"settle_seconds,omitempty"` // until the server's memory was read again

	// The rates are nil if the run has faults.
	Publishes  *float64 `json:"publishes_per_second"`
	Deliveries *float64 `json:"deliveries_per_second"`

	Published   uint64            `json:"published"`
	Expected    uint64            `json:"expected"` // deliveries
	Delivered   uint64            `json:"delivered"`
	Lost        uint64            `json:"lost"`
	Reasons     map[string]uint64 `json:"reasons"`     // what was dropped, by the server's and the system's counts
	Unexplained uint64            `json:"unexplained"` // of what was lost

	Reordered  uint64 `json:"reordered"`
	Duplicates uint64 `json:"duplicates"`
	Corrupt    uint64 `json:"corrupt"`
	Foreign    uint64 `json:"foreign"` // of another run
	Refused    uint64 `json:"refused"` // publishes that were answered by an error

	Latency  Latency  `json:"latency_us"`
	Server   *Costs   `json:"server,omitempty"`         // nil where its process is not known
	Origin   *Costs   `json:"publish_server,omitempty"` // where the publishers' gateway was named for itself
	Failures []string `json:"failures,omitempty"`
	Faults   []string `json:"faults,omitempty"` // why there is no rate

	measuredPublishes, measuredDeliveries uint64
}

// Latency is the time from before the publish was written until the delivery
// was read, in microseconds.
type Latency struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Costs are the resources that the server's process used.
type Costs struct {
	PID         int     `json:"pid"` // 0: on another machine, as its metrics tell
	PerDelivery float64 `json:"cpu_us_per_delivery"`
	PerPublish  float64 `json:"cpu_us_per_publish"`
	Processors  float64 `json:"cpus"` // that it kept busy
	Resident    uint64  `json:"resident_bytes"`
	Settled     uint64  `json:"settled_bytes,omitempty"` // resident, some time after the load; 0: not read
}

// judge finds the faults. It sets the rates only if there are none.
func (r *Result) judge() {
	fault := func(n uint64, format string) {
		if n > 0 {
			r.Faults = append(r.Faults, fmt.Sprintf(format, n))
		}
	}
	fault(r.Unexplained, "%d deliveries are lost without a reason")
	fault(r.Duplicates, "%d deliveries came twice")
	fault(r.Reordered, "%d deliveries came after later ones")
	fault(r.Corrupt, "%d deliveries were not as they were sent")
	fault(r.Foreign, "%d deliveries were of another run or channel")
	fault(r.Refused, "%d times the server answered with an error")
	r.Faults = append(r.Faults, r.Failures...)
	if r.measuredDeliveries == 0 && len(r.Faults) == 0 {
		r.Faults = append(r.Faults, "nothing was delivered while it was measured")
	}
	if len(r.Faults) > 0 {
		return
	}
	publishes := float64(r.measuredPublishes) / r.Seconds
	deliveries := float64(r.measuredDeliveries) / r.Seconds
	r.Publishes, r.Deliveries = &publishes, &deliveries
}

// JSON returns the result as one line of JSON.
func (r *Result) JSON() ([]byte, error) {
	b, err := json.Marshal(r)
	return append(b, '\n'), err
}
