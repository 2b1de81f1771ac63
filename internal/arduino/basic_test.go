package arduino_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/config"
	"watchtower/device"
)

func basicPuppet(t testing.TB) *puppet {
	return newPuppet(t, puppetProgram(t, "c", "basic", "-DBASIC"))
}

// Basic frames reach a whole gateway and come from it, to all and to one. What the gateway
// refuses is told.
func TestBasic(t *testing.T) {
	t.Parallel()
	udp, tcp := startGateway(t, nil)
	e := listener(t, tcp)
	r := newRadio(t, udp, 0)
	p := basicPuppet(t)
	assert.Equal(t, busy, p.ask('M', channel, 0, 0, "too early"))
	p.tell('B')
	r.serve(p, func() bool { return slices.Contains(p.dones, done{'K', 0}) })
	r.ask(p, 'J', channel, 0, 0, "")
	assert.Equal(t, busy, p.ask('J', 6, 0, 0, ""))
	r.serve(p, func() bool { return slices.Contains(p.dones, done{'J', 0}) })
	r.ask(p, 'M', channel, 0, 0, "hello")
	for _, raw := range p.taken() {
		r.Up(raw)
	}
	m := <-e.Messages()
	assert.Equal(t, "hello", string(m.Data))
	r.serve(p, func() bool { return len(p.messages) > 0 }) // it hears itself
	assert.Equal(t, []message{{sender: m.Sender, channel: channel, data: "hello"}}, p.heard())
	require.NoError(t, e.Send(context.Background(), device.Text, []byte("only you"), []uint32{m.Sender}, channel))
	r.serve(p, func() bool { return len(p.messages) > 0 })
	assert.Equal(t, []message{{sender: e.ID(), channel: channel, targeted: true, hint: 1, data: "only you"}}, p.heard())
	r.ask(p, 'S', channel, e.ID(), 0, "you too")
	for _, raw := range p.taken() {
		r.Up(raw)
	}
	m = <-e.Messages()
	assert.Equal(t, "you too", string(m.Data))
	assert.True(t, m.Targeted)
	assert.Equal(t, 5, p.ask('M', channel, 0, 0, string(make([]byte, 75))))
	p.over()
	r.ask(p, 'M', 6, 0, 0, "not joined")
	r.serve(p, func() bool { return slices.Contains(p.dones, done{'M', 5}) })
	r.ask(p, 'M', channel, 0, 0, string(make([]byte, 74)))
	r.ask(p, 'Q', channel, 0, 0, "")
	r.serve(p, func() bool { return slices.Contains(p.dones, done{'Q', 0}) })
	assert.NotContains(t, p.dones, done{'K', 0}, "the id has stayed")
}

// Lost replies do no harm, and a new gateway is noticed.
func TestBasicLoss(t *testing.T) {
	t.Parallel()
	udp, _ := startGateway(t, nil)
	r := newRadio(t, udp, 30)
	p := basicPuppet(t)
	p.tell('B')
	r.serve(p, func() bool { return slices.Contains(p.dones, done{'K', 0}) })
	for n := range 20 {
		p.over()
		r.ask(p, 'J', uint32(n+1), 0, 0, "")
		r.serve(p, func() bool { return slices.Contains(p.dones, done{'J', 0}) })
	}
	udp, _ = startGateway(t, nil)
	r.mu.Lock()
	r.to = udp
	r.mu.Unlock()
	r.Move()
	r.serve(p, func() bool { return slices.Contains(p.dones, done{'K', 0}) })
}

// A wrong key is told, and the device goes on trying; silence is told too.
func TestBasicRefused(t *testing.T) {
	t.Parallel()
	udp, _ := startGateway(t, func(c *config.Config) { c.Wire.BasicKey = "another" })
	r := newRadio(t, udp, 0)
	p := basicPuppet(t)
	p.tell('B')
	r.serve(p, func() bool { return slices.Contains(p.dones, done{'K', 5}) })
	p.over()
	begun := time.Since(r.begun) * speed
	for at := begun; at < begun+2*time.Minute; at += unit {
		p.loop(at)
	}
	assert.Contains(t, p.over(), done{'K', lost})
	assert.Equal(t, byte('K'), p.taken()[0][0])
}
