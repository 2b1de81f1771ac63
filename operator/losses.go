package operator

import (
	nethttp "net/http"
	"time"

	"watchtower/bridge"
)

// listLosses answers GET /operator/losses: which receivers lost messages, the last first.
func (s *Service) listLosses(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r, "limit"); err != nil {
		return err
	}
	limit, err := pageSize(r.URL.Query().Get("limit"))
	if err != nil {
		return err
	}
	type entry struct {
		Sender bridge.SenderID `json:"sender"`
		Name   string          `json:"name,omitempty"`
		Gone   bool            `json:"gone,omitempty"` // the sender is not known any more
		lost
	}
	list := []entry{}
	for _, l := range s.hub.Registry().Losses(limit) {
		list = append(list, entry{l.ID, l.Name, l.Gone, showLoss(l.Loss)})
	}
	return s.answer(w, struct {
		Losses []entry `json:"losses"`
	}{list})
}

// listGone answers GET /operator/gone: the devices without a name that have left lately.
func (s *Service) listGone(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	type entry struct {
		Sender  bridge.SenderID  `json:"sender"`
		Via     string           `json:"via"`
		Why     string           `json:"why"` // as in left
		Seen    time.Time        `json:"seen"`
		Address string           `json:"address,omitempty"`
		On      []bridge.Channel `json:"on"` // the first of its channels
	}
	list := []entry{}
	for _, g := range s.hub.Registry().Gone(s.opts.Now().Add(-lately)) {
		list = append(list, entry{g.ID, g.Via.String(), g.Why.String(), g.When.UTC().Truncate(time.Second), showAddress(g.From), g.On})
	}
	return s.answer(w, struct {
		Gone []entry `json:"gone"`
	}{list})
}
