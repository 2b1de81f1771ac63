package main

import (
	"encoding/json"
	"net"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// listeners are where the banner says that a gateway listens.
func (s *served) listener(protocol string) string {
	m := regexp.MustCompile(`(?m)^  ` + protocol + ` +(?:mqtt://)?(\S+)$`).FindStringSubmatch(s.banner)
	require.NotNil(s.t, m, s.banner)
	return m[1]
}

// bench runs watchtower bench against the gateway, which it finds by itself.
func (s *served) bench(args ...string) (code int, out, problems string) {
	args = append([]string{"bench", "--warm-up", "10ms", "--duration", "200ms", "--receivers", "5", "--publishers", "2",
		"--udp", s.listener("UDP"), "--tcp", s.listener("TCP"), "--mqtt", s.listener("MQTT")}, args...)
	cmd := s.command(args...)
	var o, e strings.Builder
	cmd.Stdout, cmd.Stderr = &o, &e
	_ = cmd.Run() // the exit code says it
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

func TestBench(t *testing.T) {
	s := serveProgram(t, t.TempDir(), anyPort...)
	for _, proto := range []string{"udp", "udp-session", "tcp", "mqtt", "http", "sse"} {
		code, out, problems := s.bench("--proto", proto, "--json")
		require.Zero(t, code, problems)
		assert.Empty(t, problems, "no progress where there is no terminal")
		var got struct {
			Receive    string
			Deliveries float64 `json:"deliveries_per_second"`
			Lost       int
			Latency    struct{ P50 float64 } `json:"latency_us"`
			Server     struct {
				PID      int
				Cost     float64 `json:"cpu_us_per_delivery"`
				Resident int     `json:"resident_bytes"`
			}
		}
		require.NoError(t, json.Unmarshal([]byte(out), &got), out)
		assert.Equal(t, proto, got.Receive)
		assert.Positive(t, got.Deliveries)
		assert.Positive(t, got.Latency.P50)
		assert.Zero(t, got.Lost)
		assert.Equal(t, s.cmd.Process.Pid, got.Server.PID, "found by its port")
		assert.Greater(t, got.Server.Resident, 1<<20)
	}
	code, out, problems := s.bench("--publish", "mqtt", "--receive", "tcp")
	require.Zero(t, code, problems)
	for _, row := range []string{"2 × mqtt → 5 × tcp", "publishes ", "deliveries ", "latency ", "p99", "lost ", "order ", "µs CPU per delivery"} {
		assert.Contains(t, out, row)
	}
}

func TestBenchIdle(t *testing.T) {
	s := serveProgram(t, t.TempDir(), anyPort...)
	code, out, problems := s.bench("--receive", "mqtt", "--receivers", "200", "--idle", "--json")
	require.Zero(t, code, problems)
	var got struct {
		Connections int
		Each        float64 `json:"bytes_each"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &got), out)
	assert.Equal(t, 200, got.Connections)
	code, out, _ = s.bench("--receive", "tcp", "--idle")
	require.Zero(t, code)
	assert.Contains(t, out, "KiB each")
}

// Publishers and receivers may have a gateway each, or two URLs of one.
func TestBenchBetweenGateways(t *testing.T) {
	servers := harness.StartNATS(t, 1, "")
	a, b := inSpace(t, servers, "attic"), inSpace(t, servers, "cellar")
	a.untilSaid("cellar ", "cluster")
	b.untilSaid("attic ", "cluster")
	url := func(s *served) string {
		return "http://" + strings.TrimPrefix(s.listener("HTTP"), "http://") + "?mqtt=" + portOf(t, s.listener("MQTT")) + "&tcp=" + portOf(t, s.listener("TCP"))
	}
	between := func(args ...string) (int, string, string) {
		return a.try(append([]string{"bench", "--warm-up", "10ms", "--duration", "200ms", "--timeout", "10s", "--receivers", "5", "--publishers", "2",
			"--publish", "mqtt", "--receive", "tcp", "--secret-key", "the same at both"}, args...)...)
	}
	for _, to := range []*served{a, b} {
		code, out, problems := between("--publish-url", url(a), "--receive-url", url(to), "--json")
		require.Zero(t, code, problems)
		var got struct {
			Lost   int
			Server struct {
				Resident int `json:"resident_bytes"`
			}
			Origin struct {
				Resident int     `json:"resident_bytes"`
				Each     float64 `json:"cpu_us_per_publish"`
			} `json:"publish_server"`
		}
		require.NoError(t, json.Unmarshal([]byte(out), &got), out)
		assert.Zero(t, got.Lost)
		assert.Greater(t, got.Origin.Resident, 1<<20)
		assert.Equal(t, to == a, got.Server.Resident == got.Origin.Resident)
	}
	bare := func(s *served) string { address, _, _ := strings.Cut(url(s), "?"); return address }
	code, out, problems := between("--receive-url", bare(b), "--mqtt", a.listener("MQTT"), "--tcp", b.listener("TCP"))
	require.Zero(t, code, problems)
	assert.Contains(t, out, "\npublish gateway  ")
	assert.Contains(t, out, "\nreceive gateway  ")

	for _, wrong := range [][]string{{"--publish-url", url(a), "--idle"}, {"--publish-url", url(a), "--url", "none"}, {"--receive-url", url(a), "--pid", "1"},
		{"--publish-url", "ftp://x"}, {"--publish-url", url(a), "--receive-url", url(b), "--publish", "tcp", "--tcp", "127.0.0.1:1"}} {
		code, _, problems := between(wrong...)
		assert.Equal(t, exitUsage, code, "%v: %s", wrong, problems)
	}
}

// MQTT works without a gateway, by topics alone.
func TestBenchOfAnotherBroker(t *testing.T) {
	s := serveProgram(t, t.TempDir(), append(anyPort[:len(anyPort):len(anyPort)], "--open")...)
	code, out, problems := s.bench("--url", "none", "--proto", "mqtt", "--qos", "1", "--topic", "a/{channel}", "--filter", "a/#")
	require.Zero(t, code, problems)
	assert.Contains(t, out, "QoS 1")
	code, out, problems = s.bench("--url", "none", "--proto", "http")
	assert.Equal(t, exitUsage, code)
	assert.Empty(t, out)
	assert.Contains(t, problems, "http needs --url")
}

func TestBenchFails(t *testing.T) {
	s := serveProgram(t, t.TempDir(), anyPort...)
	code, _, problems := s.bench("--proto", "tcp", "--secret-key", "wrong")
	assert.Equal(t, exitError, code)
	assert.Contains(t, problems, "--secret-key may be wrong")
	code, _, problems = s.bench("--proto", "pigeon", "--qos", "7")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, problems, "--publish: must be one of udp,")
	assert.Contains(t, problems, "--qos: must be 0 or 1, is 7")
}

// A loss that nothing explains leaves no rate, and fails the command.
func TestBenchWithUnexplainedLoss(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	done := make(chan struct{})
	go func() { defer close(done); forgetfulServer(l) }()
	code, out, problems := program(t, "bench", "--proto", "tcp", "--url", "none", "--tcp", l.Addr().String(), "--pid", "-1",
		"--publishers", "1", "--receivers", "1", "--warm-up", "1ms", "--duration", "100ms", "--timeout", "50ms", "--json")
	assert.Equal(t, exitError, code)
	assert.Contains(t, out, `"deliveries_per_second":null`)
	assert.Contains(t, problems, "lost without a reason")
	l.Close()
	<-done
}

// forgetfulServer answers basic frames, and delivers no message.
func forgetfulServer(l net.Listener) {
	c, err := l.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		switch buf[0] {
		case 'R':
			_, err = c.Write([]byte{'A', 1, 0, 0, 0})
		case 'J':
			_, err = c.Write(append([]byte{'A'}, buf[5:9]...))
		}
		if err != nil || n == 0 {
			return
		}
	}
}

func TestBenchComparesTwoServers(t *testing.T) {
	a, b := serveProgram(t, t.TempDir(), anyPort...), serveProgram(t, t.TempDir(), anyPort...)
	address := "http://" + strings.TrimPrefix(a.listener("HTTP"), "http://")
	first := address + "?mqtt=" + portOf(t, a.listener("MQTT"))
	compare := func(args ...string) (int, string, string) {
		cmd := a.command(append([]string{"bench", "--warm-up", "10ms", "--duration", "200ms", "--receivers", "5", "--publishers", "2",
			"--proto", "mqtt", "--rounds", "2"}, args...)...)
		var out, problems strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &problems
		_ = cmd.Run() // the exit code says it
		return cmd.ProcessState.ExitCode(), out.String(), problems.String()
	}
	code, out, problems := compare("--compare", first, first)
	require.Zero(t, code, problems)
	for _, row := range []string{"2 rounds", "B to A", "deliveries ", "latency p99 ", "CPU per delivery ", "resident ", "none."} {
		assert.Contains(t, out, row)
	}
	code, out, problems = compare("--compare", first, first, "--json")
	require.Zero(t, code, problems)
	var got struct {
		A, B   []struct{ Server struct{ PID int } }
		Ratios map[string]struct{ Median, Least, Most float64 }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &got), out)
	require.Len(t, got.A, 2)
	require.Len(t, got.B, 2)
	assert.Equal(t, a.cmd.Process.Pid, got.A[0].Server.PID)
	require.Contains(t, got.Ratios, "deliveries_per_second")
	for name, r := range got.Ratios {
		assert.LessOrEqual(t, r.Least, r.Median, name)
		assert.LessOrEqual(t, r.Median, r.Most, name)
	}

	code, _, problems = compare("--compare", first, "mqtt://"+b.listener("MQTT"))
	assert.Equal(t, 1, code)
	assert.Contains(t, problems, "B: ", "another gateway asks for its key")
	for _, wrong := range [][]string{{first}, {"--compare", first}, {"--compare", first, first, first}, {"--compare", first, "ftp://x"},
		{"--compare", first, address + "?port=1"}, {"--compare", first, first, "--idle"}, {"--compare", first, first, "--pid", "1"}, {"--compare", first, first, "--rounds", "0"}} {
		code, _, problems = compare(wrong...)
		assert.Equal(t, 2, code, "%v: %s", wrong, problems)
	}
}

func portOf(t *testing.T, address string) string {
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	return port
}
