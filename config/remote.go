package config

import (
	"errors"
	"fmt"
	"net/url"
	"unicode/utf8"
)

// brokerURL allows mqtt:// and mqtts:// URLs of one broker.
func brokerURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Hostname() == "":
		return fmt.Errorf("must be mqtt://host:1883 or mqtts://host:8883, is %q", s)
	case u.Scheme != "mqtt" && u.Scheme != "mqtts":
		return fmt.Errorf("must begin with mqtt:// or mqtts://, is %q", s)
	case u.User != nil:
		return errors.New("must have no user name or password: set mqtt.remote.user and mqtt.remote.password")
	case u.Path != "" && u.Path != "/", u.RawQuery != "", u.Fragment != "":
		return fmt.Errorf("must have nothing behind the port, is %q", s)
	}
	return nil
}

// loginText allows what MQTT can carry as a user name or password.
func loginText(s string) error {
	if !utf8.ValidString(s) || len(s) > 65535 {
		return errors.New("must be valid UTF-8 of at most 65535 bytes")
	}
	return nil
}

// checkRemote finds settings of a foreign broker that need another one.
func (c *Config) checkRemote(add func(string, error)) {
	r := c.MQTT.Remote
	switch {
	case r.URL == "":
		return
	case c.Open:
		add("mqtt.remote.url", errors.New("cannot be set while open is true: the secret key is what gateways at that broker know each other by; set secret_key"))
	case c.Cluster.URL != "":
		add("mqtt.remote.url", errors.New("cannot be set while cluster.url is: the gateways of a space share their channels over NATS; keep one of them"))
	case r.Password != "" && r.User == "":
		add("mqtt.remote.user", errors.New("is missing: mqtt.remote.password needs it"))
	case r.TLSCertificate != "" && r.TLSKey == "":
		add("mqtt.remote.tls_key", errors.New("is missing: mqtt.remote.tls_certificate needs it"))
	case r.TLSKey != "" && r.TLSCertificate == "":
		add("mqtt.remote.tls_certificate", errors.New("is missing: mqtt.remote.tls_key needs it"))
	case r.Trust == "acl" && r.Probe.User == "":
		add("mqtt.remote.probe.user", errors.New("is missing: with mqtt.remote.trust: acl the gateway finds out, as a device, whether the broker lets it speak as another. Give a device's login, or set mqtt.remote.trust: none if the broker enforces nothing (Home Assistant's add-on does not)"))
	case r.Probe.User != "" && r.Probe.User == r.User:
		add("mqtt.remote.probe.user", errors.New("must be a device's, not the gateway's own, which may speak as everybody"))
	}
}
