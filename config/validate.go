package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// The bounds that several settings share.
const (
	leastTime       = time.Millisecond
	leastExpiry     = time.Second
	mostKeepAlive   = 65535 * time.Second // MQTT's own
	mostQueued      = 1_000_000
	mostBytes       = math.MaxInt32 // an int has no more on a small Raspberry Pi
	mostConnections = 1_000_000
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	Path    string // the setting's, or empty where the file cannot be read at all
	Problem string // what is wrong, and the way out
	Where   string // where the value came from, such as gateway.yaml:3; or empty
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

// Faults are all that is wrong with a configuration, each on a line.
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

// Validate checks all values, and returns every fault at once, as Faults.
func (c *Config) Validate() error { return c.faults(nil).orNil() }

// faults checks all values; from says where each came from.
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
	for _, name := range slices.Sorted(maps.Keys(c.Users)) {
		checkUser(name, c.Users[name], add)
	}
	for _, n := range slices.Sorted(maps.Keys(c.Channels)) {
		path := channelPath(n)
		if n == 0 {
			add(path, errBadChannel)
		}
		add(path+".name", channelName(c.Channels[n].Name))
	}
	return all
}

// checkClashes finds two listeners on one TCP port, which the system would
// refuse with a less helpful error.
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

// checkTLS finds settings that need each other. Whether the files can be read
// is found out when they are.
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

func listenAddress(s string) error {
	if s == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("must be host:port or :port, such as 127.0.0.1:8080, or empty for off; is %q", s)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("the port must be a number from 0 to 65535, is %q", port)
	}
	if _, err := netip.ParseAddr(host); host != "" && err != nil && !hostname(host) {
		return fmt.Errorf("the host must be a name or an address, is %q", host)
	}
	return nil
}

func hostname(s string) bool {
	if s == "" || len(s) > 253 || strings.Trim(s, ".-") != s {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !nameByte(c) {
			return false
		}
	}
	return true
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.' || c == '-'
}

func hostOrCIDR(s string) error {
	if _, err := netip.ParsePrefix(s); err == nil {
		return nil
	}
	if _, err := netip.ParseAddr(s); err == nil || hostname(s) {
		return nil
	}
	return fmt.Errorf("%q is neither a host (without scheme or port), an address nor a CIDR such as 10.0.0.0/8", s)
}

// hostPattern is a name of the gateway, or of all names below one.
func hostPattern(s string) error {
	if hostname(strings.TrimPrefix(s, "*.")) {
		return nil
	}
	return fmt.Errorf("%q is neither a host name such as gateway.example.org (without scheme or port) nor all below one, such as *.example.org", s)
}

// webOrigin is what a browser says of a page: scheme, host and port (RFC 6454).
func webOrigin(s string) error {
	u, err := url.Parse(s)
	if s == "*" || err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && s == u.Scheme+"://"+u.Host && s == strings.ToLower(s) {
		return nil
	}
	return fmt.Errorf("%q is neither * nor an origin such as https://dash.lan or http://10.0.0.5:3000, in small letters, without a path", s)
}

func baseTopic(s string) error {
	switch {
	case s == "":
		return errors.New("must not be empty")
	case len(s) > 256:
		return errors.New("must be at most 256 bytes")
	case !printable(s):
		return errors.New("must be text without control characters")
	case strings.ContainsAny(s, "+#"):
		return fmt.Errorf("must not contain the wildcards + and #, is %q", s)
	case s[0] == '$':
		return fmt.Errorf("must not begin with $, is %q", s)
	case slices.Contains(strings.Split(s, "/"), ""):
		return fmt.Errorf("must not begin or end with /, nor contain //, is %q", s)
	}
	return nil
}

// secretKey bounds a key: the wire carries its length in one byte, and HTTP
// and a shell must be able to carry its text.
func secretKey(s string) error {
	if len(s) > 255 {
		return fmt.Errorf("must be at most 255 bytes, has %d", len(s))
	}
	if !printable(s) {
		return errors.New("must be UTF-8 text without control characters or line breaks")
	}
	return nil
}

func anyText(s string) error {
	if strings.ContainsRune(s, 0) {
		return errors.New("must not contain a zero byte")
	}
	return nil
}

func printable(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

func dataDir(s string) error {
	switch {
	case s == "":
		return errors.New("must name a directory")
	case s == "~" || strings.HasPrefix(s, "~/"):
		return fmt.Errorf("%q begins with ~, which only a shell expands: write the whole path", s)
	case strings.ContainsRune(s, 0):
		return errors.New("must not contain a zero byte")
	}
	return nil
}

func gatewayName(s string) error {
	ok := len(s) <= 64
	for i := range len(s) {
		ok = ok && nameByte(s[i])
	}
	if !ok {
		return fmt.Errorf("must be up to 64 of A–Z a–z 0–9 _ . -, is %q", s)
	}
	return nil
}

func channelName(s string) error {
	if n := utf8.RuneCountInString(s); n < 1 || n > 64 || !printable(s) {
		return errors.New("must be 1 to 64 printable characters")
	}
	return nil
}

var errBadChannel = errors.New("is no channel: channels are numbers from 1 to 4294967295")

func channelPath(n uint32) string { return "channels." + strconv.FormatUint(uint64(n), 10) }

func oneOf(allowed ...string) func(string) error {
	return func(s string) error {
		if slices.Contains(allowed, s) {
			return nil
		}
		return fmt.Errorf("must be one of %s, is %q", strings.Join(allowed, ", "), s)
	}
}
