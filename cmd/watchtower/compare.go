package main

import (
	"cmp"
	"context"
	"net"
	"net/url"

	"watchtower/bench"
)

// server completes the options for one of two servers that are compared: a gateway's
// address, or mqtt://host:port. The query of a gateway's address may name the ports where
// it listens: http://pi:8080?mqtt=1884&udp=7000&tcp=7000.
func (f *benchFlags) server(c *client, flag, address string) (o bench.Options, err error) {
	o = f.opts
	o.PID, o.UDPAddr, o.TCPAddr, o.MQTTAddr = 0, "", "", ""
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Path != "" && u.Path != "/" {
		return o, usagef("%s: must be like http://127.0.0.1:8080 or mqtt://127.0.0.1:1883, is %q", flag, address)
	}
	switch u.Scheme {
	case "mqtt":
		o.URL, o.SecretKey = "", ""
		o.MQTTAddr = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), mqttPort))
		return o, nil
	case "http":
	default:
		return o, usagef("%s: must begin with http:// or mqtt://, is %q", flag, address)
	}
	o.URL = "http://" + net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "80"))
	ports := u.Query()
	at := func(name, usual string) string {
		port := cmp.Or(ports.Get(name), usual)
		ports.Del(name)
		return net.JoinHostPort(u.Hostname(), port)
	}
	o.UDPAddr, o.TCPAddr, o.MQTTAddr = at("udp", wirePort), at("tcp", wirePort), at("mqtt", mqttPort)
	for name := range ports {
		return o, usagef("%s: %q names no port: use udp, tcp and mqtt", flag, name)
	}
	c.url = o.URL
	t, err := c.find()
	o.SecretKey = t.key
	return o, err
}

// compare measures two servers in turns.
func (f *benchFlags) compare(ctx context.Context, c *client, addresses [2]string, shown *progress) (*bench.Comparison, error) {
	var servers [2]bench.Options
	for i, flag := range []string{"--compare", "the second server"} {
		o, err := f.server(c, flag, addresses[i])
		if err == nil {
			err = validate(o)
		}
		if err != nil {
			return nil, err
		}
		servers[i] = o
	}
	return bench.Compare(ctx, servers[0], servers[1], f.rounds, shown.show)
}

// checkCompare checks the arguments of --compare.
func (f *benchFlags) checkCompare(args []string) error {
	switch {
	case f.with == "" && len(args) > 0:
		return usagef("unknown argument %q: two servers are compared with --compare A B", args[0])
	case f.with == "":
		return nil
	case len(args) != 1:
		return usagef("--compare: name two servers, as in --compare http://127.0.0.1:8080 mqtt://127.0.0.1:1884")
	case f.rounds < 1 || f.rounds > 1000:
		return usagef("--rounds: must be 1 to 1000, is %d", f.rounds)
	case f.idle:
		return usagef("--compare: not with --idle")
	case f.opts.URL != "" || f.opts.PID != 0 || f.opts.MQTTAddr+f.opts.UDPAddr+f.opts.TCPAddr != "":
		return usagef("--compare: its addresses stand for --url, --pid, --mqtt, --udp and --tcp")
	}
	return nil
}
