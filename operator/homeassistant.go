package operator

import (
	nethttp "net/http"
	"time"

	"watchtower/bridge"
)

// House is what Home Assistant is told.
type House struct {
	Enabled bool           `json:"enabled"`
	Prefix  string         `json:"prefix"` // of the discovery topics
	Birth   *time.Time     `json:"birth"`  // when Home Assistant last said online; nil: not since the start
	Devices []HouseDevice  `json:"devices"`
	Faults  []HouseProblem `json:"faults"`
}

// HouseDevice is an announced device.
type HouseDevice struct {
	Sender   bridge.SenderID `json:"sender,omitempty"` // 0: the gateway's own device
	Name     string          `json:"name,omitempty"`   // the sender's
	Device   string          `json:"device"`           // its name in Home Assistant
	Entities []HouseEntity   `json:"entities"`
}

// HouseEntity is one entity of a device.
type HouseEntity struct {
	Component string `json:"component"`
	Name      string `json:"name"`
	Template  string `json:"template,omitempty"`
	State     string `json:"state,omitempty"` // the beginning of what the template gets
}

// HouseProblem is why a sender's description was refused.
type HouseProblem struct {
	Sender  bridge.SenderID `json:"sender"`
	Name    string          `json:"name,omitempty"`
	Channel bridge.Channel  `json:"channel"`
	Fault   string          `json:"fault"`
}

// ShowState returns the beginning of a state as it is shown.
func ShowState(payload []byte) string {
	_, text := describe(bridge.Opaque, payload)
	return text
}

// showHouse answers GET /operator/homeassistant.
func (s *Service) showHouse(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	return s.answer(w, s.opts.House())
}
