package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"watchtower/bench"
)

const mqttPort = "1883"

// benchFlags holds bench.Options and the flags that are not in them.
type benchFlags struct {
	opts                    bench.Options
	publish, receive, proto string
	json, idle              bool
	with                    string // the first of two servers to compare
	rounds                  int
	at                      [2]string // URLs of the publishers' gateway and of the receivers'
}

func benchCommand(sys surroundings) *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what a gateway delivers",
		Long: "Measure what a gateway delivers: publishers and receivers over real sockets, who\n" +
			"check that every message comes once, in order and unchanged. Where one is lost and\n" +
			"neither the gateway nor the system has counted why, no rate is printed, and the\n" +
			"exit code is 1.\n\n" +
			"Flat out a publisher has --window messages out: a message is out until every\n" +
			"receiver has it. With --rate messages are published at that rate, whatever becomes\n" +
			"of them.\n\n" +
			"Any MQTT broker can be measured: --url none --proto mqtt --mqtt HOST:PORT.\n\n" +
			"--compare A B measures two servers in turns and prints how B compares with A. Each is\n" +
			"a gateway's HTTP address or mqtt://HOST:PORT. Ports that are not the usual ones follow\n" +
			"the address: 'http://127.0.0.1:8081?mqtt=1884&udp=7001&tcp=7001'.\n\n" +
			"--publish-url and --receive-url name two gateways that share their channels, with such\n" +
			"ports. Without one of them that side is at --url. --mqtt, --udp and --tcp are for the\n" +
			"side that uses them.",
		Example: "  watchtower bench --proto udp --receivers 500\n" +
			"  watchtower bench --publish mqtt --receive sse --rate 100\n" +
			"  watchtower bench --proto mqtt --url none --mqtt 127.0.0.1:1884 --qos 1\n" +
			"  watchtower bench --receive tcp --receivers 2000 --idle\n" +
			"  watchtower bench --publish mqtt --receive tcp --publish-url 'http://127.0.0.1:8081?mqtt=1881' --receive-url 'http://127.0.0.1:8082?tcp=3032'\n" +
			"  watchtower bench --proto mqtt --rate 20 --compare http://127.0.0.1:8080 mqtt://127.0.0.1:1884",
		Args: cobra.ArbitraryArgs,
	}
	addBenchFlags(cmd.Flags(), &f)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := errors.Join(f.checkCompare(args), f.checkTwo()); err != nil {
			return err
		}
		c := newClient(sys)
		c.url, c.secretKey = f.opts.URL, f.opts.SecretKey
		c.dataDir = cmd.Flags().Lookup("data-dir").Value.String()
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		if err := f.complete(c); err != nil {
			return err
		}
		return f.run(ctx, c, sys, args)
	}
	return cmd
}

func addBenchFlags(flags *pflag.FlagSet, f *benchFlags) {
	flags.SortFlags = false
	o, d := &f.opts, bench.Options{}.WithDefaults()
	flags.StringVar(&f.proto, "proto", "http", "protocol of both sides: udp, udp-session, tcp, mqtt, http or sse")
	flags.StringVar(&f.publish, "publish", "", "protocol of the publishers (default: --proto)")
	flags.StringVar(&f.receive, "receive", "", "protocol of the receivers (default: --proto)")
	flags.IntVar(&o.Publishers, "publishers", d.Publishers, "how many publish")
	flags.IntVar(&o.Receivers, "receivers", d.Receivers, "how many receive; over udp, udp-session and tcp the publishers are among them")
	flags.IntVar(&o.Channels, "channels", d.Channels, "channels over which receivers are spread")
	flags.BoolVar(&o.JoinAll, "join-all", false, "every receiver joins every channel")
	flags.BoolVar(&o.Send, "send", false, "send to the receivers by their ids, in place of broadcasts")
	flags.IntVar(&o.Stalled, "stalled", 0, "further receivers, who do not read")
	flags.IntVar(&o.Size, "size", d.Size, "bytes of a message, 40 to 60000")
	flags.Float64Var(&o.Rate, "rate", 0, "publishes per second of all publishers together; 0: flat out")
	flags.IntVar(&o.Window, "window", d.Window, "messages of a publisher that are out, flat out")
	flags.Uint8Var(&o.QoS, "qos", 0, "QoS of MQTT, 0 or 1")
	flags.DurationVar(&o.WarmUp, "warm-up", d.WarmUp, "time before it is measured")
	flags.DurationVar(&o.Duration, "duration", d.Duration, "time that is measured")
	flags.DurationVar(&o.Timeout, "timeout", d.Timeout, "after which a message is lost")
	flags.DurationVar(&o.Settle, "settle", 0, "time after the load at which the server's memory is read again (default: it is not)")
	flags.StringVar(&o.URL, "url", "", "the gateway's URL (default: the one on this machine); none: it is another broker")
	flags.StringVar(&f.at[0], "publish-url", "", "the publishers' gateway, of several that share their channels (default: --url)")
	flags.StringVar(&f.at[1], "receive-url", "", "the receivers' gateway (default: --url)")
	flags.StringVar(&o.SecretKey, "secret-key", "", "the gateway's secret key (default: that of the one on this machine)")
	flags.String("data-dir", "", "the data directory of the gateway on this machine")
	flags.StringVar(&o.UDPAddr, "udp", "", "where it listens over UDP (default: the URL's host, port "+wirePort+")")
	flags.StringVar(&o.TCPAddr, "tcp", "", "where it listens over TCP (default: the URL's host, port "+wirePort+")")
	flags.StringVar(&o.MQTTAddr, "mqtt", "", "where it listens for MQTT (default: the URL's host, port "+mqttPort+")")
	flags.StringVar(&o.User, "user", d.User, "user name for MQTT")
	flags.StringVar(&o.Topic, "topic", "", "topic to publish to over MQTT, with {channel}")
	flags.StringVar(&o.Filter, "filter", "", "filter to subscribe to over MQTT, with {channel}")
	flags.Uint32Var(&o.FirstChannel, "first-channel", 0, "the first channel's number (default: at random)")
	flags.IntVar(&o.PID, "pid", 0, "the server's process (default: the one that listens there); -1: none")
	flags.StringVar(&f.with, "compare", "", "measure this server and the one named after it, in turns")
	flags.IntVar(&f.rounds, "rounds", 5, "how often each server is measured, with --compare")
	flags.BoolVar(&f.idle, "idle", false, "measure the memory of receivers that hear nothing")
	flags.BoolVar(&f.json, "json", false, "print JSON")
}

// complete finds the values that the command line does not give.
func (f *benchFlags) complete(c *client) error {
	o := &f.opts
	o.Publish, o.Receive = bench.Protocol(cmp.Or(f.publish, f.proto)), bench.Protocol(cmp.Or(f.receive, f.proto))
	if f.with != "" {
		return nil // see server
	}
	if f.two() {
		return f.completeTwo(c)
	}
	if o.URL == "none" {
		o.URL = ""
		return nil
	}
	t, err := c.find()
	if err != nil {
		return err
	}
	o.URL, o.SecretKey = t.url, t.key
	u, err := url.Parse(t.url)
	if err != nil {
		return err
	}
	if u.Port() == "" {
		o.URL += ":80"
	}
	o.UDPAddr = cmp.Or(o.UDPAddr, net.JoinHostPort(u.Hostname(), wirePort))
	o.TCPAddr = cmp.Or(o.TCPAddr, net.JoinHostPort(u.Hostname(), wirePort))
	o.MQTTAddr = cmp.Or(o.MQTTAddr, net.JoinHostPort(u.Hostname(), mqttPort))
	return nil
}

// measured is the result of a measurement.
type measured interface {
	JSON() ([]byte, error)
	Table() string
}

func validate(o bench.Options) error {
	if err := o.Validate(); err != nil {
		return usagef("%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

// measure does what the flags ask for. Faults say why there is no rate.
func (f *benchFlags) measure(ctx context.Context, c *client, args []string, shown *progress) (got measured, faults []string, err error) {
	if f.with != "" {
		got, err = f.compare(ctx, c, [2]string{f.with, args[0]}, shown)
		return got, nil, err
	}
	if err := validate(f.opts); err != nil {
		return nil, nil, err
	}
	f.opts.Progress = shown.show
	if f.idle {
		got, err = bench.MeasureIdle(ctx, f.opts)
		return got, nil, err
	}
	r, err := bench.Run(ctx, f.opts)
	if err != nil {
		return nil, nil, err
	}
	return r, r.Faults, nil
}

func (f *benchFlags) run(ctx context.Context, c *client, sys surroundings, args []string) error {
	shown := newProgress(sys.err)
	got, faults, err := f.measure(ctx, c, args, shown)
	shown.end()
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if err != nil {
		return err
	}
	if err := f.print(got, sys.out); err != nil {
		return err
	}
	if len(faults) > 0 {
		return errors.New("no rate: " + strings.Join(faults, ", "))
	}
	return nil
}

func (f *benchFlags) print(got measured, to io.Writer) error {
	if !f.json {
		_, err := io.WriteString(to, got.Table())
		return err
	}
	b, err := got.JSON()
	if err == nil {
		_, err = to.Write(b)
	}
	return err
}
