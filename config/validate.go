package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
)

// Fault is one error in a configuration.
type Fault struct {
	Path    string // of the setting; empty if the file cannot be read at all
	Problem string // what is wrong, and how to correct it
	Where   string // the source of the value, such as gateway.yaml:3; may be empty
}

func (f Fault) Error() string {
	s := f.Problem
	if f.Path != "" {
		s = f.Path + ": " + s
	}
	if f.Where != "" {
		s += " (" + f.Where + ")"
	}
	return s
}

// Faults are all errors in a configuration. As a text, each has a line.
type Faults []Fault

func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.Error()
	}
	return strings.Join(lines, "\n")
}

// orNil returns f as an error, or nil where there is no fault.
func (f Faults) orNil() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// Validate checks all values. The error is a Faults that holds every fault.
func (c *Config) Validate() error { return c.faults(nil).orNil() }

// faults checks all values. From maps the path of each to its source.
func (c *Config) faults(from map[string]string) Faults {
	var all Faults
	add := func(path string, err error) {
		if err != nil {
			all = append(all, Fault{Path: path, Problem: err.Error(), Where: from[path]})
		}
	}
	for _, s := range settings(c) {
		add(s.Path, s.value.check())
	}
	if c.Open && c.SecretKey != "" {
		add("open", errors.New("cannot be true while secret_key is set: keep one of them"))
	}
	secure := c.TLS.On() && c.HTTP.TLSListen+c.MQTT.TLSListen != ""
	if c.AdminKey != "" && c.AdminKey == c.SecretKey {
		add("admin_key", errors.New("must not be the secret key, which every device has"))
	}
	if c.HTTP.Listen+c.UDP.Listen+c.TCP.Listen+c.MQTT.Listen == "" && !secure {
		add("http.listen", errors.New("every protocol is off: turn on HTTP, UDP, TCP or MQTT"))
	}
	for _, t := range []struct{ path, topic string }{
		{"homeassistant.discovery_prefix", c.HomeAssistant.DiscoveryPrefix}, {"homeassistant.birth_topic", c.HomeAssistant.BirthTopic},
	} {
		if t.topic == c.MQTT.BaseTopic || strings.HasPrefix(t.topic, c.MQTT.BaseTopic+"/") {
			add(t.path, fmt.Errorf("must not be under mqtt.base_topic, is %q", t.topic))
		}
	}
	c.checkClashes(add)
	c.checkTLS(add)
	c.checkRemote(add)
	for _, name := range slices.Sorted(maps.Keys(c.Users)) {
		checkUser(name, c.Users[name], add)
	}
	for _, n := range slices.Sorted(maps.Keys(c.Channels)) {
		path := channelPath(n)
		if n == 0 {
			add(path, errBadChannel)
		}
		ch := c.Channels[n]
		if ch.Name != "" || !ch.mayBeNameless() {
			add(path+".name", channelName(ch.Name))
		}
		c.checkMap(path, ch.Map, add)
		if key, err := ch.checkRule(); err != nil {
			add(path+"."+key, err)
		}
	}
	return all
}

// checkClashes finds listeners that share a TCP port. The system would refuse the second
// with a less helpful error.
func (c *Config) checkClashes(add func(string, error)) {
	type listener struct{ path, address string }
	listeners := []listener{{"http.listen", c.HTTP.Listen}, {"tcp.listen", c.TCP.Listen}, {"mqtt.listen", c.MQTT.Listen}}
	if c.TLS.On() {
		listeners = append(listeners, listener{"http.tls_listen", c.HTTP.TLSListen}, listener{"mqtt.tls_listen", c.MQTT.TLSListen})
	}
	for i, b := range listeners {
		for _, a := range listeners[:i] {
			if clash(a.address, b.address) {
				add(b.path, fmt.Errorf("%s is taken by %s: choose another port, or \"\" for off", b.address, a.path))
			}
		}
	}
}

// checkTLS finds TLS settings that need another one that is missing. It does not read
// the files.
func (c *Config) checkTLS(add func(string, error)) {
	switch t := c.TLS; {
	case t.On() && t.Key == "":
		add("tls.key", errors.New("is missing: tls.certificate needs it"))
	case !t.On() && t.Key != "":
		add("tls.certificate", errors.New("is missing: tls.key needs it"))
	case !t.On() && t.ClientCA != "":
		add("tls.certificate", errors.New("is missing: tls.client_ca needs it"))
	case t.RequireClientCertificate && t.ClientCA == "":
		add("tls.client_ca", errors.New("is missing: tls.require_client_certificate needs it"))
	}
}

func clash(a, b string) bool {
	hostA, portA, errA := net.SplitHostPort(a)
	hostB, portB, errB := net.SplitHostPort(b)
	if errA != nil || errB != nil || portA != portB || portA == "0" {
		return false
	}
	return hostA == hostB || hostA == "" || hostB == ""
}

// Texts returns the texts of a configuration's faults, one by one, or of any other error.
func Texts(err error) (list []string) {
	var faults Faults
	if errors.As(err, &faults) {
		for _, f := range faults {
			list = append(list, f.Error())
		}
	} else if err != nil {
		list = append(list, err.Error())
	}
	return list
}
