package operator

import (
	nethttp "net/http"
	"time"

	"watchtower/bridge"
)

// Space is what several gateways share.
type Space struct {
	Name   string
	Server string // the NATS server that the gateway is connected to; empty: none
	Fault  error  // why the gateway does not share its channels or names just now; nil: it does
	Leases []bridge.LeaseHolder

	Sessions SpaceSessions
}

// SpaceSessions are the MQTT sessions here, and how many have come and gone since the start.
type SpaceSessions struct {
	Here    int    `json:"here"`
	Waiting int    `json:"waiting"` // of those here, for their clients
	Came    uint64 `json:"came"`    // from other gateways
	Bare    uint64 `json:"bare"`    // of those, without all that waited in them
	Adopted uint64 `json:"adopted"` // of gateways that were gone
	Given   uint64 `json:"given"`   // to other gateways
}

// lease is who does what only one gateway does.
type lease struct {
	Name   string      `json:"name"`
	Slot   bridge.Slot `json:"slot"`
	Holder string      `json:"holder"` // its gateway's name; empty: it was not heard yet
	Since  time.Time   `json:"since"`
}

// otherGateway is another gateway of the space, as this one sees it.
type otherGateway struct {
	Slot     bridge.Slot `json:"slot"`
	Name     string      `json:"name"`
	Up       bool        `json:"up"`
	Heard    time.Time   `json:"heard"`          // when it was heard last
	Ahead    int64       `json:"clock_ahead_ms"` // of its clock, before ours
	Behind   int         `json:"behind_bytes"`   // of ours, that it has not told us it has
	Waiting  int         `json:"waiting_bytes"`  // of it, that wait here
	Messages uint64      `json:"messages"`
	Resent   uint64      `json:"resent"`
	Lost     uint64      `json:"lost"`
	Repeated uint64      `json:"repeated"`
}

// showCluster answers GET /operator/cluster: this gateway among those that share its channels.
func (s *Service) showCluster(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	space := s.opts.Space()
	own, several := s.hub.Peers().Own()
	if space == nil || !several {
		return fault(alone, "", "this gateway is alone: it shares its channels with others over NATS if cluster.url is set; who shares a foreign broker with it is in the metrics (watchtower_peer_up)")
	}
	answer := struct {
		Space  string         `json:"space"`
		Slot   bridge.Slot    `json:"slot"`
		Name   string         `json:"name"`
		Server string         `json:"server"` // empty: none
		Fault  *string        `json:"fault"`  // null: there is none
		Made   uint64         `json:"made"`
		Unsent uint64         `json:"unsent"`
		Others []otherGateway `json:"others"`
		Leases []lease        `json:"leases"`

		Sessions SpaceSessions `json:"sessions"`
	}{space.Name, own.Slot, s.opts.About().Name, space.Server, nil, own.Made, own.Unsent, []otherGateway{}, []lease{}, space.Sessions}
	if space.Fault != nil {
		why := space.Fault.Error()
		answer.Fault = &why
	}
	names := map[bridge.Slot]string{own.Slot: answer.Name}
	for _, o := range s.hub.Peers().Others() {
		names[o.Slot] = o.Name
		answer.Others = append(answer.Others, otherGateway{
			o.Slot, o.Name, o.Here, o.Heard.UTC(), o.Ahead.Milliseconds(), o.Behind, o.Waiting, o.Messages, o.Resent, o.Lost, o.Repeated,
		})
	}
	for _, l := range space.Leases {
		answer.Leases = append(answer.Leases, lease{l.Name, l.Slot, names[l.Slot], l.Since.UTC()})
	}
	return s.answer(w, answer)
}
