//go:build !race

// Sieges by strangers: what memory holds is measured without the race detector, which has its
// own beside it.

package gateway_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"watchtower/config"
)

// Peers that are not known hold little, whatever they begin and announce.
func TestWhatStrangersHold(t *testing.T) {
	const body, frame, packet = 448_000, 64_000, 60 << 10
	unfinished := func(head string, size int) func(int) []byte {
		b := append([]byte(head), strings.Repeat("x", size)...)
		return func(int) []byte { return b }
	}
	post := func(path, head string) string {
		return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, body, head)
	}
	http, tcp, mqtt := func(r *running) string { return r.at.HTTP }, func(r *running) string { return r.at.TCP }, func(r *running) string { return r.at.MQTT }
	for name, siege := range map[string]struct {
		n, addresses int
		addr         func(*running) string
		say          func(int) []byte
		most         int // MiB
	}{
		"registrations":  {1000, 1, http, unfinished(post("/register", `{"name":"`), body-100), 16},
		"broadcasts":     {1000, 10, http, unfinished(post("/broadcast", `{"message":"`), body-100), 40},
		"headers":        {1000, 10, http, unfinished("GET /channels/join?channels=", 150_000), 40},
		"frames":         {5000, 10, tcp, unfinished(string(basicFrame("M", uint32(1), uint32(5), uint32(frame))), frame-1000), 40},
		"session frames": {2000, 2, tcp, unfinished("b\x00\xff\xff\x01\x00\x00\x00\x01\x00\x00\x00", frame), 32},
		"packets":        {1000, 5, mqtt, unfinished("\x10\xff\xff\x3f\x00\x04MQTT\x04\xc2\x00\x00", packet), 16},
		"large CONNECTs": {1000, 5, mqtt, unfinished("\x10\x80\x80\x03\x00\x04MQTT\x04\xc2\x00\x00", 48_000), 24},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, func(c *config.Config) { c.Limits.Failures = 1_000_000 })
			r.serves()
			before := memory(t)
			r.besiege(siege.n, siege.addresses, siege.addr(r), siege.say)
			var held, strangers int
			// What was refused is gone half a second later: net/http waits for its reader.
			eventually(t, "little is held", func() bool {
				held = memory(t) - before
				strangers, _ = r.g.Intake().Held()
				return held < siege.most<<20
			})
			t.Logf("%d KiB held, %d KiB counted, %d goroutines", held>>10, strangers>>10, runtime.NumGoroutine())
			assert.LessOrEqual(t, strangers, 8<<20)
			r.serves()
		})
	}
}

// Connections that say nothing keep nobody out.
func TestIdleStrangersKeepNobodyOut(t *testing.T) {
	t.Parallel()
	for _, addresses := range []int{1, 10} {
		for p, door := range doors {
			t.Run(fmt.Sprintf("%s from %d", p, addresses), func(t *testing.T) {
				r := start(t, nil)
				r.besiege(3000, addresses, door.addr(r), nil)
				strangers, _ := r.g.Intake().Held()
				t.Logf("%d KiB counted", strangers>>10)
				assert.True(t, r.enters(r.dialFrom(7, door.addr(r)), p), "another")
				r.serves()
			})
		}
	}
}
