// Command remote measures how fast the gateway carries messages to a foreign broker: a client of
// the gateway publishes, and a client of mosquitto hears it. Beside it, in the same run, it
// measures mosquitto itself, from one client to one, and how much processor time the gateway
// takes for that beside paho. make bench-remote builds and runs it, on this machine only.
package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"watchtower/bench/target"
)

// window is how many messages are under way: so that mosquitto drops none.
const window = 2000

func main() {
	program := flag.String("gateway", "bin/watchtower", "the program to measure")
	rounds := flag.Int("rounds", 5, "how often each row is measured")
	seconds := flag.Int("seconds", 4, "how long each measurement takes")
	role := flag.String("publish", "", "for its own use: publish to this address, and read the window from standard input")
	topic := flag.String("topic", "", "for its own use")
	user := flag.String("user", "", "for its own use")
	qos := flag.Int("qos", 0, "QoS of all")
	flag.Parse()
	var err error
	if *role != "" {
		err = publish(*role, *topic, *user, byte(*qos))
	} else {
		err = run(*program, *rounds, time.Duration(*seconds)*time.Second, *qos)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "remote:", err)
		os.Exit(1)
	}
}

// run measures all rows, round by round, and prints the medians.
func run(program string, rounds int, long time.Duration, qos int) error {
	broker, stop, err := mosquitto()
	if err != nil {
		return err
	}
	defer stop()
	g, err := target.Start(context.Background(), program, "--gateway-name=bench", "--mqtt-remote-url=mqtt://"+broker,
		"--mqtt-remote-trust=none", "--mqtt-remote-qos="+strconv.Itoa(qos), "--mdns=false")
	if err != nil {
		return err
	}
	defer g.Stop()
	heard := make(chan struct{}, 1<<20)
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + broker).SetClientID("receiver").SetOrderMatters(true))
	if t := c.Connect(); t.Wait() && t.Error() != nil {
		return t.Error()
	}
	defer c.Disconnect(0)
	for _, filter := range []string{"watchtower/channels/5/broadcast/+", "own/x"} {
		if t := c.Subscribe(filter, byte(qos), func(paho.Client, paho.Message) { heard <- struct{}{} }); t.Wait() && t.Error() != nil {
			return t.Error()
		}
	}
	time.Sleep(2 * time.Second) // the gateway connects
	var cost, share []float64
	for range rounds {
		rate, own, _, err := measure(broker, "own/x", "", qos, long, heard, 0)
		if err != nil {
			return err
		}
		gRate, _, gOwn, err := measure(g.MQTT, "watchtower/channels/5/broadcast", target.SecretKey, qos, long, heard, g.PID())
		if err != nil {
			return err
		}
		fmt.Printf("mosquitto from client to client %.0f/s, through the gateway %.0f/s; processor time of a message: paho %.1f µs, gateway %.1f µs\n",
			rate, gRate, own, gOwn)
		cost, share = append(cost, gOwn/own), append(share, gRate/rate)
	}
	fmt.Printf("QoS %d: through the gateway / direct: median %.2f; the gateway's processor time / paho's: median %.2f\n", qos, median(share), median(cost))
	return nil
}

func median(all []float64) float64 {
	slices.Sort(all)
	return all[len(all)/2]
}

// measure has another process publish for some time, and returns how many messages a second came,
// and what processor time one took of that process and of another one, in µs.
func measure(to, topic, user string, qos int, long time.Duration, heard <-chan struct{}, other int) (rate, own, others float64, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, 0, 0, err
	}
	cmd := exec.Command(self, "-publish", to, "-topic", topic, "-user", user, "-qos", strconv.Itoa(qos))
	cmd.Stderr = os.Stderr
	grants, err := cmd.StdinPipe()
	if err != nil {
		return 0, 0, 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, 0, 0, err
	}
	grant := func(n int) { _, _ = grants.Write(make([]byte, n)) }
	grant(window)
	n, until := 0, time.After(long)
	before, begun := processorTime(other), time.Now()
	got, warm := 0, false
	for done := false; !done; {
		select {
		case <-heard:
			n++
			if got++; got == window/4 {
				grant(got)
				got = 0
			}
			if !warm && n == 1000 {
				n, warm, begun, before = 0, true, time.Now(), processorTime(other)
			}
		case <-until:
			done = true
		}
	}
	spent := time.Since(begun)
	others = (processorTime(other) - before).Seconds() * 1e6 / float64(n)
	_ = grants.Close()
	if err := cmd.Wait(); err != nil {
		return 0, 0, 0, err
	}
	for len(heard) > 0 {
		<-heard
	}
	all := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return float64(n) / spent.Seconds(), all.Seconds() * 1e6 / float64(n+1000), others, nil
}

// publish publishes one message for each byte of standard input, until that ends.
func publish(to, topic, user string, qos byte) error {
	o := paho.NewClientOptions().AddBroker("tcp://" + to).SetClientID("publisher")
	if user != "" {
		o.SetUsername("x").SetPassword(user)
	}
	c := paho.NewClient(o)
	if t := c.Connect(); t.Wait() && t.Error() != nil {
		return t.Error()
	}
	payload, granted := make([]byte, 64), make([]byte, 256)
	for {
		n, err := os.Stdin.Read(granted)
		for range n {
			c.Publish(topic, qos, false, payload)
		}
		if err != nil {
			c.Disconnect(100)
			return nil
		}
	}
}

// mosquitto starts a broker on a port of its own.
func mosquitto() (address string, stop func(), err error) {
	if address, err = target.FreePort(); err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp("", "watchtower-bench")
	if err != nil {
		return "", nil, err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", nil, err
	}
	file := filepath.Join(dir, "mosquitto.conf")
	if err := os.WriteFile(file, []byte("listener "+port+" "+host+"\nallow_anonymous true\nset_tcp_nodelay true\nmax_queued_messages 0\n"), 0o600); err != nil {
		return "", nil, err
	}
	cmd := exec.Command("/usr/sbin/mosquitto", "-c", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); _ = os.RemoveAll(dir) }
	for range 100 {
		if c, err := net.Dial("tcp", address); err == nil {
			return address, stop, c.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	return "", nil, fmt.Errorf("mosquitto does not listen on %s", address)
}

// processorTime is what a process has taken so far.
func processorTime(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, _ := strconv.Atoi(f[11]) // of proc_pid_stat(5): utime and stime, in hundredths of a second
	system, _ := strconv.Atoi(f[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
