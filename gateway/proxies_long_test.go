//go:build long

package gateway_test

import "testing"

// The proxies that make setup does not install: make setup-long does.

func TestLongBehindApache(t *testing.T)   { testBehind(t, proxies["Apache"]) }
func TestLongBehindCaddy(t *testing.T)    { testBehind(t, proxies["Caddy"]) }
func TestLongBehindLighttpd(t *testing.T) { testBehind(t, proxies["lighttpd"]) }
func TestLongBehindVarnish(t *testing.T)  { testBehind(t, proxies["Varnish"]) }
func TestLongBehindSquid(t *testing.T)    { testBehind(t, proxies["Squid"]) }
