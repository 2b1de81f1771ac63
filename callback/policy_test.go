package callback

import (
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
)

func testPolicy(t *testing.T, change func(*Options)) *policy {
	o := Options{Callbacks: config.Default().Callbacks}
	if change != nil {
		change(&o)
	}
	p, err := newPolicy(o)
	require.NoError(t, err)
	return p
}

func TestAddressesThatAreClosed(t *testing.T) {
	p := testPolicy(t, nil)
	public := testPolicy(t, func(o *Options) { o.PublicOnly = true })
	for address, open := range map[string]struct{ byDefault, publicOnly bool }{
		"127.0.0.1":                {},
		"127.255.0.9":              {},
		"::1":                      {},
		"0.0.0.0":                  {},
		"0.1.2.3":                  {},
		"::":                       {},
		"169.254.1.1":              {},
		"169.254.169.254":          {},
		"168.63.129.16":            {},
		"100.100.100.200":          {},
		"192.0.0.192":              {},
		"fd00:ec2::254":            {},
		"64:ff9b:1::a00:1":         {},
		"::ffff:0:127.0.0.1":       {},
		"fe80::1%eth0":             {},
		"224.0.0.1":                {},
		"239.255.255.255":          {},
		"ff02::1":                  {},
		"255.255.255.255":          {},
		"::ffff:127.0.0.1":         {},
		"::127.0.0.1":              {},
		"64:ff9b::7f00:1":          {},
		"64:ff9b::a9fe:a9fe":       {},
		"2002:7f00:1::1":           {},
		"2001:0:1:2:3:4:80ff:fffe": {}, // 127.0.0.1, inverted
		"10.1.2.3":                 {byDefault: true},
		"172.31.0.1":               {byDefault: true},
		"192.168.1.20":             {byDefault: true},
		"100.64.0.1":               {byDefault: true},
		"198.18.0.1":               {byDefault: true},
		"240.0.0.1":                {byDefault: true},
		"fd12::1":                  {byDefault: true},
		"fec0::1":                  {byDefault: true},
		"64:ff9b::a00:1":           {byDefault: true},
		"2002:c0a8:1::":            {byDefault: true},
		"2001:0:1:2:3:4:f5ff:fffe": {byDefault: true}, // 10.0.0.1, inverted
		"2001:db8::1":              {byDefault: true},
		"192.88.99.1":              {byDefault: true}, // 6to4's relays
		"2620:4f:8000::1":          {byDefault: true}, // AS112
		"4000::1":                  {byDefault: true}, // not assigned
		"1.1.1.1":                  {true, true},
		"172.32.0.1":               {true, true},
		"2606:4700::1111":          {true, true},
		"64:ff9b::101:101":         {true, true},
		"::ffff:0:1.1.1.1":         {true, true},
		"::ffff:0:10.0.0.1":        {byDefault: true},
	} {
		ap := netip.AddrPortFrom(netip.MustParseAddr(address), 80)
		assert.Equal(t, open.byDefault, p.check(address, ap) == nil, address)
		assert.Equal(t, open.publicOnly, public.check(address, ap) == nil, "%s, public only", address)
	}
}

func TestAllowedAddressesAreOpen(t *testing.T) {
	p := testPolicy(t, func(o *Options) {
		o.PublicOnly = true
		o.Allow = []string{"127.0.0.1", "10.0.0.0/8", "::1", "Printer.Local.", "::ffff:169.254.0.0/112"}
	})
	for address, open := range map[string]bool{
		"127.0.0.1": true, "127.0.0.2": false, "::ffff:127.0.0.1": true, "64:ff9b::a00:1": true,
		"10.2.3.4": true, "::1": true, "192.168.0.1": false, "169.254.169.254": true, "fe80::1": false,
	} {
		assert.Equal(t, open, p.check(address, netip.AddrPortFrom(netip.MustParseAddr(address), 80)) == nil, address)
	}
	assert.NoError(t, p.check("printer.LOCAL", netip.MustParseAddrPort("192.168.0.1:80")))
}

func TestOwnListenersAreClosed(t *testing.T) {
	p := testPolicy(t, func(o *Options) {
		o.Listeners = func() []netip.AddrPort {
			return []netip.AddrPort{netip.MustParseAddrPort("192.168.7.7:8080"), netip.MustParseAddrPort("[::]:3033")}
		}
	})
	assert.ErrorContains(t, p.check("x", netip.MustParseAddrPort("192.168.7.7:8080")), "--allow-callbacks 192.168.7.7")
	assert.ErrorContains(t, p.check("x", netip.MustParseAddrPort("[64:ff9b::c0a8:707]:8080")), "own")
	assert.NoError(t, p.check("x", netip.MustParseAddrPort("192.168.7.7:8081")))
	assert.NoError(t, p.check("x", netip.MustParseAddrPort("198.51.100.7:3033")), "not this machine's")
	assert.True(t, p.isOwn(netip.MustParseAddr("127.0.0.1"), 3033), "this machine's")
}

func TestCallbackURLs(t *testing.T) {
	p := testPolicy(t, func(o *Options) { o.Allow = []string{"good.invalid"} })
	for text, says := range map[string]string{
		"":                           "http://",
		"/messages":                  "http://",
		"ftp://192.168.1.2/":         "http://",
		"mailto:a@b":                 "http://",
		"http://":                    "no host",
		"http://:80/":                "no host",
		"http://u:p4ss@192.168.1.2/": "user name",
		"http://192.168.1.2:0/":      "port",
		"http://192.168.1.2:65536/":  "port",
		"http://192.168.1.2:x/":      "not a URL",
		"http://a b/":                "not a URL",
		"http://127.0.0.1/":          "start the gateway with --allow-callbacks 127.0.0.1 (callbacks.allow)",
		"http://[::1]:9000/":         "--allow-callbacks ::1 (callbacks.allow)",
		"http://localhost/":          "loopback",
		"http://nowhere.invalid/":    "has no address",
		"http://2130706433/":         "",
		"http://0x7f.1/":             "",
	} {
		err := p.checkURL(context.Background(), text)
		var refusal *bridge.Error
		require.ErrorAs(t, err, &refusal, text)
		assert.Equal(t, InvalidURL, refusal.Code)
		assert.Equal(t, "callback_url", refusal.Field)
		assert.Contains(t, refusal.Detail, says, text)
		assert.NotContains(t, refusal.Detail, "p4ss")
	}
	for _, text := range []string{"http://192.168.1.2", "https://10.0.0.1:8443/a?b=c", "HTTP://192.168.1.2/", "http://[fd12::1]/", "http://good.invalid/"} {
		assert.NoError(t, p.checkURL(context.Background(), text), text)
	}
}
