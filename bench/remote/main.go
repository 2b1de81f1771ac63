// Command remote measures how fast the gateway carries messages to a foreign broker, which is
// mosquitto, beside that broker itself from one client to one; and how much processor time the
// gateway takes for that, beside paho. make bench-remote builds and runs it, on this machine only.
//
// The rates are those of a generator that takes little itself (package bench), one client to one,
// flat out, whose receiver rests between two reads at QoS 0. The processor time is that of the processes at a fixed rate, which is published by
// paho in all three: to mosquitto, to a gateway that carries it on to mosquitto, and to a gateway
// that has no foreign broker. So the last two differ by what the foreign broker takes of it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"watchtower/bench"
	"watchtower/bench/target"
)

// window is how many messages are under way, flat out: so that mosquitto drops none.
const window = 1000

// rest is how long the generator's clients rest between two reads at QoS 0. Else it takes more of two
// processors than all servers, since mosquitto writes each message by itself, and the rates are the generator's.
// At QoS 1 mosquitto waits for the receiver.
const rest = 500 * time.Microsecond

// inflight is how many unacknowledged messages mosquitto takes of a client of MQTT 5, as the gateway is
// one. Clients of MQTT 3.1.1, as the generator is one, may have more.
const inflight = 20

// channelTopic and channelFilter are those of a channel of the gateway.
const (
	channelTopic  = "watchtower/channels/{channel}/broadcast"
	channelFilter = "watchtower/channels/{channel}/broadcast/+"
)

func main() {
	program := flag.String("gateway", "bin/watchtower", "the program to measure")
	rounds := flag.Int("rounds", 5, "how often each row is measured")
	seconds := flag.Int("seconds", 4, "how long each measurement takes")
	qos := flag.Int("qos", 0, "QoS of all: 0 or 1")
	rate := flag.Int("rate", 0, "messages a second for the processor time; 0: 20,000 at QoS 0, 5,000 at QoS 1")
	role := flag.String("publish", "", "for its own use: publish to this address by paho until standard input ends")
	topic := flag.String("topic", "", "for its own use")
	password := flag.String("password", "", "for its own use")
	flag.Parse()
	if *rate == 0 {
		*rate = []int{20_000, 5_000}[*qos&1]
	}
	var err error
	if *role != "" {
		err = publish(*role, *topic, *password, byte(*qos), *rate)
	} else {
		err = run(*program, *rounds, time.Duration(*seconds)*time.Second, byte(*qos), *rate)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "remote:", err)
		os.Exit(1)
	}
}

// servers are the broker and two gateways: one with it, and one alone.
type servers struct {
	broker      string // host:port
	pid         int    // of the broker
	with, alone *target.Gateway
}

// run measures all rows, round by round, and prints them and the medians.
func run(program string, rounds int, long time.Duration, qos byte, rate int) error {
	ctx := context.Background()
	broker, pid, stop, err := mosquitto()
	if err != nil {
		return err
	}
	defer stop()
	s := servers{broker: broker, pid: pid}
	if s.with, err = target.Start(ctx, program, "--gateway-name=bench", "--mdns=false",
		"--mqtt-remote-url=mqtt://"+broker, "--mqtt-remote-trust=none", "--mqtt-remote-qos="+strconv.Itoa(int(qos))); err != nil {
		return err
	}
	defer s.with.Stop()
	if s.alone, err = target.Start(ctx, program, "--mdns=false"); err != nil {
		return err
	}
	defer s.alone.Stop()
	joining, end := context.WithTimeout(ctx, 10*time.Second)
	defer end()
	if err := s.with.Joined(joining); err != nil {
		return err
	}
	var shares, narrow, wholes, parts []float64
	for range rounds {
		r, err := s.measure(ctx, long, qos, rate)
		if err != nil {
			return err
		}
		fmt.Printf("from client to client %.0f/s, of mosquitto's time %.1f µs; with %d under way %.0f/s; through the gateway %.0f/s, of mosquitto's time %.1f µs, of the gateway's %.1f µs; processor time of a message at %d/s: paho %.1f µs, gateway %.1f µs, without the foreign broker %.1f µs\n",
			r.direct, r.brokers, inflight, r.narrow, r.through, r.brokersThen, r.flat, rate, r.paho, r.with, r.alone)
		shares, narrow = append(shares, r.through/r.direct), append(narrow, r.through/r.narrow)
		wholes, parts = append(wholes, r.with/r.paho), append(parts, (r.with-r.alone)/r.paho)
	}
	fmt.Printf("QoS %d: through the gateway / direct: median %.2f, with as many under way %.2f; processor time / paho's: what the foreign broker takes of the gateway %.2f, the whole gateway %.2f\n",
		qos, median(shares), median(narrow), median(parts), median(wholes))
	return nil
}

// round is what one round measured: rates a second, and processor time of a message in µs. Narrow is
// direct with as few under way as mosquitto lets the gateway have, flat the gateway's cost of through,
// brokers mosquitto's cost of direct, and brokersThen that of through: what mosquitto can do at most.
type round struct {
	direct, narrow, through, flat, brokers, brokersThen, paho, with, alone float64
}

func (s servers) measure(ctx context.Context, long time.Duration, qos byte, rate int) (r round, err error) {
	flatOut := bench.Options{Publish: bench.MQTT, Receive: bench.MQTT, Publishers: 1, Receivers: 1, Window: window,
		QoS: qos, Duration: long, MQTTAddr: s.broker, PID: -1, Topic: channelTopic, Filter: channelFilter}
	if qos == 0 {
		flatOut.Rest = rest
	}
	direct := flatOut
	direct.Topic, direct.Filter = "", ""
	if r.direct, _, r.brokers, err = s.deliveries(ctx, direct); err != nil {
		return r, fmt.Errorf("from client to client: %w", err)
	}
	r.narrow = r.direct
	if direct.Window = inflight; qos == 1 {
		if r.narrow, _, _, err = s.deliveries(ctx, direct); err != nil {
			return r, fmt.Errorf("from client to client, %d under way: %w", inflight, err)
		}
	}
	flatOut.Origin = &bench.Gateway{URL: "http://" + s.with.HTTP, SecretKey: target.SecretKey, MQTTAddr: s.with.MQTT}
	if r.through, r.flat, r.brokersThen, err = s.deliveries(ctx, flatOut); err != nil {
		return r, fmt.Errorf("through the gateway: %w", err)
	}
	if r.paho, _, err = cost(s.broker, "own/x", "", qos, rate, long, 0); err != nil {
		return r, err
	}
	topic := "watchtower/channels/5/broadcast"
	if _, r.with, err = cost(s.with.MQTT, topic, target.SecretKey, qos, rate, long, s.with.PID()); err != nil {
		return r, err
	}
	_, r.alone, err = cost(s.alone.MQTT, topic, target.SecretKey, qos, rate, long, s.alone.PID())
	return r, err
}

// deliveries returns how many messages came a second, and what processor time a message took of the
// publisher's gateway and of mosquitto, in µs.
func (s servers) deliveries(ctx context.Context, o bench.Options) (rate, cost, broker float64, err error) {
	before := processorTime(s.pid)
	r, err := bench.Run(ctx, o)
	if err != nil {
		return 0, 0, 0, err
	}
	if r.Deliveries == nil {
		return 0, 0, 0, fmt.Errorf("it has no figures: %v", r.Faults)
	}
	broker = (processorTime(s.pid) - before).Seconds() * 1e6 / float64(r.Published)
	if r.Origin != nil {
		cost = r.Origin.PerPublish
	}
	return *r.Deliveries, cost, broker, nil
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}
