package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	secretKey = "peers"
	patience  = 15 * time.Second // for a start, and for an end
)

// process is a server that runs.
type process struct {
	cmd                  *exec.Cmd
	http, udp, tcp, mqtt string // where it listens
	log                  string // file
}

// freePort finds a port that is free for TCP and for UDP.
func freePort() (string, error) {
	for {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", err
		}
		u, err := net.ListenPacket("udp", l.Addr().String())
		l.Close()
		if err != nil {
			continue // another has it on UDP
		}
		_ = u.Close()
		return l.Addr().String(), nil
	}
}

// start starts a server with its data in a directory, and returns once it
// listens.
func (b *bench) start(ctx context.Context, server, dir string) (*process, error) {
	p, err := b.launch(server, dir)
	if err != nil {
		return nil, err
	}
	if err := p.ready(ctx); err != nil {
		p.end()
		text, _ := os.ReadFile(p.log) // the error says that it is not there
		return nil, fmt.Errorf("%s: %w: %s", server, err, text)
	}
	return p, nil
}

func (b *bench) launch(server, dir string) (*process, error) {
	p := &process{log: filepath.Join(dir, "log")}
	var ports [3]string
	for i := range ports {
		var err error
		if ports[i], err = freePort(); err != nil {
			return nil, err
		}
	}
	switch server {
	case gatewayServer:
		p.http, p.udp, p.tcp, p.mqtt = ports[0], ports[1], ports[1], ports[2]
		p.cmd = exec.Command(b.program, "serve", "--http", p.http, "--udp", p.udp, "--tcp", p.tcp, "--mqtt", p.mqtt,
			"--data-dir", filepath.Join(dir, "data"), "--secret-key", secretKey,
			"--limits-connections-per-address", "20000", "--limits-mqtt-connections", "20000", "--limits-mqtt-subscription-bytes", "268435456", "--limits-udp-basic", "20000",
			"--log-level", "warn")
	case mosquitto, lasting:
		p.mqtt = ports[0]
		conf, err := mosquittoConf(dir, p.mqtt, server == lasting)
		if err != nil {
			return nil, err
		}
		p.cmd = exec.Command(mosquittoPath(), "-c", conf)
	case flashMQ:
		p.mqtt = ports[0]
		conf, err := flashMQConf(dir, p.mqtt)
		if err != nil {
			return nil, err
		}
		p.cmd = exec.Command(os.Getenv("FLASHMQ"), "--config-file", conf)
	case bareHTTP:
		p.http = ports[0]
		p.cmd = exec.Command(b.self, serveCommand, server, ports[0])
	case bareUDP:
		p.udp = ports[0]
		p.cmd = exec.Command(b.self, serveCommand, server, ports[0])
	case bareTCP:
		p.tcp = ports[0]
		p.cmd = exec.Command(b.self, serveCommand, server, ports[0])
	default:
		p.mqtt = ports[0]
		p.cmd = exec.Command(b.self, serveCommand, server, ports[0])
	}
	return p, p.run(dir)
}

func (p *process) run(dir string) error {
	log, err := os.Create(p.log)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return p.cmd.Start()
}

// ready waits until the server listens. It does not check UDP: its clients repeat their
// requests.
func (p *process) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, address := range []string{p.http, p.tcp, p.mqtt} {
		for address != "" {
			c, err := net.DialTimeout("tcp", address, time.Second)
			if err == nil {
				c.Close()
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("does not listen: %w", err)
			case <-time.After(2 * time.Millisecond):
			}
		}
	}
	return nil
}

// end ends the server, by force if it does not end by itself.
func (p *process) end() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails if it has ended
	kill := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	_ = p.cmd.Wait() // how it ended says nothing here
}

// mosquittoPath returns the program that the variable MOSQUITTO names, or the system's.
func mosquittoPath() string {
	if path := os.Getenv("MOSQUITTO"); path != "" {
		return path
	}
	if path, err := exec.LookPath("mosquitto"); err == nil {
		return path
	}
	return "/usr/sbin/mosquitto" // where Debian has it, which is not in everybody's path
}

// flashMQConf writes a configuration with a listener, and without limits that end the load.
func flashMQConf(dir, address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "flashmq.conf")
	text := fmt.Sprintf("allow_anonymous true\nstorage_dir %s\nlog_file %s\nlisten {\n  protocol mqtt\n  port %s\n  inet4_bind_address %s\n  inet_protocol ip4\n}\n",
		dir, filepath.Join(dir, "flashmq.log"), port, host)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// mosquittoConf writes a configuration with a listener, and without a limit for waiting
// messages: by default mosquitto loses some messages of QoS 1 when a run begins. All else
// has its default, but for the log: as the gateway's, it has warnings, and not each connect.
// Set_tcp_nodelay is off by default; it would halve the rate. With persistence mosquitto writes
// its state to the directory when it ends.
func mosquittoConf(dir, address string, persistent bool) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "mosquitto.conf")
	text := fmt.Sprintf("listener %s %s\nallow_anonymous true\nmax_queued_messages 0\nlog_type error\nlog_type warning\n", port, host)
	if persistent {
		text += fmt.Sprintf("persistence true\npersistence_location %s/\n", dir)
	}
	if os.Getuid() == 0 {
		text += "user root\n" // else it becomes somebody who may not read this
	}
	return path, os.WriteFile(path, []byte(text), 0o600)
}
