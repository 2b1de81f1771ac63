package operator

import (
	nethttp "net/http"

	"github.com/sirupsen/logrus"

	"watchtower/bridge"
)

// Setting is a setting of the gateway, as it is in force.
type Setting struct {
	Name         string  `json:"name"`
	Value        *string `json:"value,omitempty"` // nil: it is a secret
	From         string  `json:"from"`            // flag, environment, file, default
	Line         int     `json:"line,omitempty"`  // in the file
	Default      string  `json:"default"`
	Help         string  `json:"help"`
	Secret       bool    `json:"secret,omitempty"`
	Set          *bool   `json:"set,omitempty"` // of a secret: it is not empty
	NeedsRestart bool    `json:"needs_restart"` // a reload does not apply a new value
}

// listSettings answers GET /operator/settings.
func (s *Service) listSettings(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	list, file := s.opts.Settings()
	return s.answer(w, struct {
		Settings []Setting `json:"settings"`
		File     string    `json:"file"`
	}{list, file})
}

// showDeviceKey answers GET /operator/device-key.
func (s *Service) showDeviceKey(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r, "name"); err != nil {
		return err
	}
	name := r.URL.Query().Get("name")
	if !bridge.ValidName(name) {
		return fault(bridge.InvalidName, "name", "must be the device's name, 1 to 64 of A–Z a–z 0–9 _ . : -, is %q", bridge.Shorten(name))
	}
	if s.opts.Open {
		return fault(openGateway, "", "the gateway has no secret key, so its device key is 16 zeros and proves nothing: start it without --open to have one")
	}
	hex, c := s.opts.DeviceKey()
	s.did(r, "operator was shown the device key", logrus.Fields{"name": name})
	return s.answer(w, struct {
		Name string `json:"name"`
		Hex  string `json:"hex"`
		C    string `json:"c"`
	}{name, hex, c})
}
