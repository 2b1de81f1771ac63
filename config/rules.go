package config

import (
	"errors"
	"fmt"
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
	mostBytes       = math.MaxInt32 // the largest int where an int has 32 bits
	mostConnections = 1_000_000
)

// rule says which texts are allowed: in words, and as a check.
type rule struct {
	span  string
	check func(string) error
}

// The rules of texts, and of the entries of lists.
var (
	addressRule   = rule{"host:port or empty", listenAddress}
	topicRule     = rule{"a topic without wildcards, up to 256 bytes", baseTopic}
	keyRule       = rule{"printable text, up to 255 bytes", secretKey}
	fileRule      = rule{"a path or empty", anyText}
	directoryRule = rule{"a path", dataDir}
	spaceRule     = rule{"A–Z a–z 0–9 _ -, up to 32", spaceName}
	natsRule      = rule{"nats:// or tls:// URLs, or empty", natsURLs}
	remoteRule    = rule{"an mqtt:// or mqtts:// URL, or empty", brokerURL}
	loginRule     = rule{"text", loginText}
	nameRule      = rule{"A–Z a–z 0–9 _ . -, up to 64", gatewayName}
	originRule    = rule{"origins, or *", webOrigin}
	hostRule      = rule{"host names, or *.name", hostPattern}
	targetRule    = rule{"hosts, addresses, CIDRs", hostOrCIDR}
)

func oneOf(allowed ...string) rule {
	list := strings.Join(allowed, ", ")
	return rule{list, func(s string) error {
		if slices.Contains(allowed, s) {
			return nil
		}
		return fmt.Errorf("must be one of %s, is %q", list, s)
	}}
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

// spaceName allows what may be a level of a NATS subject and part of a bucket's name.
func spaceName(s string) error {
	if s == "" || len(s) > 32 {
		return errors.New("must have 1 to 32 characters")
	}
	for i := range len(s) {
		if c := s[i]; c == '.' || !nameByte(c) {
			return fmt.Errorf("must be of A–Z a–z 0–9 _ -, is %q", s)
		}
	}
	return nil
}

// natsURLs allows URLs of NATS servers with commas between them.
func natsURLs(s string) error {
	if s == "" {
		return nil
	}
	for one := range strings.SplitSeq(s, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil || (u.Scheme != "nats" && u.Scheme != "tls") || u.Host == "" {
			return fmt.Errorf("%q is not a NATS server such as nats://10.0.0.5:4222", shownURL(one))
		}
	}
	return nil
}

// shownURL leaves out what may be a password.
func shownURL(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return "…" + s[i:]
	}
	return s
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

// hostPattern allows a host name, or *. and a host name for all names below it.
func hostPattern(s string) error {
	if hostname(strings.TrimPrefix(s, "*.")) {
		return nil
	}
	return fmt.Errorf("%q is neither a host name such as gateway.example.org (without scheme or port) nor all below one, such as *.example.org", s)
}

// webOrigin allows *, or the origin of a web page: scheme, host and port (RFC 6454).
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

// secretKey allows up to 255 bytes, because the wire has one byte for the length. The
// text must be printable, so that HTTP and a shell can carry it.
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
