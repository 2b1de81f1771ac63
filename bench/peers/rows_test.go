package main

import (
	"errors"
	"math"
	"strings"
	"testing"
)

var errNothing = errors.New("nothing")

// Measurements that are compared follow each other, and each is done once.
func TestMeasurementsAreInterleaved(t *testing.T) {
	rows := everyRow()
	all := measurements(rows)
	at := map[string]int{}
	for i, m := range all {
		if _, twice := at[m.key()]; twice {
			t.Errorf("%s is measured twice", m.key())
		}
		at[m.key()] = i
	}
	for _, r := range rows {
		i, ok := at[r.of.key()]
		if !ok {
			t.Fatalf("%s is not measured", r.of.key())
		}
		if r.against.server == "" {
			continue
		}
		if j := at[r.against.key()]; math.Abs(float64(i-j)) > 5 {
			t.Errorf("%s: %d measurements lie between", r.path, i-j)
		}
	}
}

func TestReport(t *testing.T) {
	m, ref := measurement{gatewayServer, "a"}, measurement{bareTCP, "a"}
	b := &bench{samples: map[string][]sample{
		m.key():   {{Deliveries: 90}, {Deliveries: 80}, {err: errNothing}, {Deliveries: 100}},
		ref.key(): {{Deliveries: 100}, {Deliveries: 100}},
	}}
	line := b.line(row{"path", rate, m, ref, 0.9})
	for _, text := range []string{"90.00 (80.00–100) /s", "bare tcp 100 (100–100)", "| 0.90 | ≥ 0.9 | met |"} {
		if !strings.Contains(line, text) {
			t.Errorf("%s lacks %q", line, text)
		}
	}
	if line := b.line(row{"path", rate, m, ref, 0.95}); !strings.Contains(line, "missed") {
		t.Error(line)
	}
	if line := b.line(row{"path", p99, m, measurement{nats, "a"}, 0.95}); !strings.Contains(line, "not measured") {
		t.Error(line)
	}
	if text := b.failures([]measurement{m}); !strings.Contains(text, "round 3: nothing") {
		t.Error(text)
	}
}
