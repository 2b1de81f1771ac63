package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// tick is between two bursts of a publisher.
const tick = 2 * time.Millisecond

// publish publishes at a rate until standard input ends. Then it waits for what was not
// acknowledged, and prints how many messages that were.
func publish(to, topic, password string, qos byte, rate int) error {
	o := paho.NewClientOptions().AddBroker("tcp://" + to).SetClientID("publisher")
	if password != "" {
		o.SetUsername("x").SetPassword(password)
	}
	c := paho.NewClient(o)
	if t := c.Connect(); t.Wait() && t.Error() != nil {
		return t.Error()
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(ended)
	}()
	payload, n, begun := make([]byte, 64), 0, time.Now()
	t := time.NewTicker(tick)
	defer t.Stop()
	var last paho.Token
	for {
		select {
		case now := <-t.C:
			for due := int(now.Sub(begun).Seconds() * float64(rate)); n < due; n++ {
				last = c.Publish(topic, qos, false, payload)
			}
		case <-ended:
			if last != nil {
				last.WaitTimeout(time.Second)
			}
			c.Disconnect(100)
			_, err := fmt.Println(n)
			return err
		}
	}
}

// cost has paho publish for some time, and returns what processor time a message took of paho's
// process and of another one, in µs.
func cost(to, topic, password string, qos byte, rate int, long time.Duration, other int) (own, others float64, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, 0, err
	}
	cmd := exec.Command(self, "-publish", to, "-topic", topic, "-password", password, "-qos", strconv.Itoa(int(qos)), "-rate", strconv.Itoa(rate))
	cmd.Stderr = os.Stderr
	var out strings.Builder
	cmd.Stdout = &out
	end, err := cmd.StdinPipe()
	if err != nil {
		return 0, 0, err
	}
	before := processorTime(other)
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	time.Sleep(long)
	_ = end.Close()
	if err := cmd.Wait(); err != nil {
		return 0, 0, err
	}
	spent := processorTime(other) - before
	n, err := strconv.Atoi(strings.TrimSpace(out.String()))
	if err != nil || n == 0 {
		return 0, 0, fmt.Errorf("paho published nothing: %w", err)
	}
	each := func(d time.Duration) float64 { return d.Seconds() * 1e6 / float64(n) }
	return each(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()), each(spent), nil
}

// processorTime is what a process has taken so far; of process 0: nothing.
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
