package main

import (
	"cmp"

	"watchtower/bench"
)

// two reports whether publishers and receivers have a gateway each.
func (f *benchFlags) two() bool { return f.at[0]+f.at[1] != "" }

// checkTwo checks --publish-url and --receive-url.
func (f *benchFlags) checkTwo() error {
	switch {
	case !f.two():
		return nil
	case f.with != "" || f.idle:
		return usagef("--publish-url, --receive-url: not with --compare or --idle")
	case f.opts.URL == "none":
		return usagef("--publish-url, --receive-url: not with --url none")
	case f.opts.PID != 0:
		return usagef("--pid: not with --publish-url or --receive-url: both gateways tell what they use")
	}
	return nil
}

// completeTwo completes the options for a gateway of the publishers and one of the receivers.
// Both may be the same one.
func (f *benchFlags) completeTwo(c *client) error {
	o := &f.opts
	if f.at[0] == "" || f.at[1] == "" {
		t, err := c.find()
		if err != nil {
			return err
		}
		f.at[0], f.at[1] = cmp.Or(f.at[0], t.url), cmp.Or(f.at[1], t.url)
	}
	from, err := f.server(c, "--publish-url", f.at[0])
	if err != nil {
		return err
	}
	to, err := f.server(c, "--receive-url", f.at[1])
	if err != nil {
		return err
	}
	for _, at := range []struct {
		flag, address string
		uses          func(bench.Protocol) bool
		from, to      *string
	}{
		{"--mqtt", o.MQTTAddr, func(p bench.Protocol) bool { return p == bench.MQTT }, &from.MQTTAddr, &to.MQTTAddr},
		{"--tcp", o.TCPAddr, func(p bench.Protocol) bool { return p == bench.TCP }, &from.TCPAddr, &to.TCPAddr},
		{"--udp", o.UDPAddr, func(p bench.Protocol) bool { return p == bench.UDP || p == bench.UDPSession }, &from.UDPAddr, &to.UDPAddr},
	} {
		publish, receive := at.uses(o.Publish), at.uses(o.Receive)
		switch {
		case at.address == "":
			continue
		case publish && receive && from.URL != to.URL:
			return usagef("%s: both sides use it: name the port of each in its URL, as in --publish-url 'http://127.0.0.1:8081?%s=1881'", at.flag, at.flag[2:])
		}
		if publish {
			*at.from = at.address
		}
		if receive {
			*at.to = at.address
		}
	}
	o.URL, o.SecretKey, o.UDPAddr, o.TCPAddr, o.MQTTAddr = to.URL, to.SecretKey, to.UDPAddr, to.TCPAddr, to.MQTTAddr
	o.Origin = &bench.Gateway{URL: from.URL, SecretKey: from.SecretKey, UDPAddr: from.UDPAddr, TCPAddr: from.TCPAddr, MQTTAddr: from.MQTTAddr}
	return nil
}
