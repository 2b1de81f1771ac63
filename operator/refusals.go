package operator

import (
	nethttp "net/http"
	"time"
)

// lately is how long refusals are shown.
const lately = time.Hour

// Refusal is who showed a wrong key, password or token.
type Refusal struct {
	Address string    `json:"address"`
	Name    string    `json:"name,omitempty"` // as it calls itself
	Via     string    `json:"via"`
	Reason  string    `json:"reason"` // as in watchtower_refused_total
	Tries   int       `json:"tries"`
	Last    time.Time `json:"last"`
}

// listRefusals answers GET /operator/refusals.
func (s *Service) listRefusals(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	return s.answer(w, struct {
		Refusals []Refusal `json:"refusals"`
	}{append([]Refusal{}, s.opts.Refusals(s.opts.Now().Add(-lately))...)})
}
