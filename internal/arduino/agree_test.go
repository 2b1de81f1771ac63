package arduino_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/device"
	"watchtower/internal/harness"
)

// The core in C and the client in Go are told the same by one gateway, whatever they ask, and
// hear the same of each other.
func TestCAndGoAgree(t *testing.T) {
	t.Parallel()
	agree(t, 60, 1)
}

// pair is a device in C and one in Go that do the same, one after the other.
type pair struct {
	testing.TB
	r    *radio
	p    *puppet
	inC  uint32 // its id
	inGo *device.Client
}

// agree lets both make n random requests.
func agree(t testing.TB, n int, seed uint64) {
	t.Helper()
	udp, tcp := startGateway(t, nil)
	a := &pair{TB: t, r: newRadio(t, udp, 10), p: newPuppet(t, puppetProgram(t, "c", "shared", "-DWT_ECHO=0", "-DWT_OWN_KEY=0", "-DWT_KEEPALIVE=400"))}
	a.p.tell('B')
	a.r.serve(a.p, func() bool { return slices.Contains(a.p.dones, done{'r', 0}) })
	a.inGo, _ = listenerUntil(t, tcp)
	a.meet()
	dice := rand.New(rand.NewPCG(seed, 3))
	joined := map[uint32]bool{channel: true}
	for i := range n {
		ch := []uint32{channel, 1, 2, 1<<32 - 1}[dice.IntN(4)]
		op := "jxbsp"[dice.IntN(5)]
		to := dice.IntN(4) > 0 // somebody who is there
		data := make([]byte, dice.IntN(67))
		for i := range data {
			data[i] = byte(dice.Uint32())
		}
		hint := byte(dice.IntN(3))
		said := fmt.Sprintf("request %d: %c to %d, %d bytes, %v", i, op, ch, len(data), to)
		other := map[bool]uint32{true: a.inGo.ID(), false: 4_000_000}[to]
		got := a.c(op, ch, other, hint, data)
		heard := got == 0 && (op == 'b' || op == 's')
		if heard {
			m := a.goHears()
			got, want := string(m.Data), string(data)
			m.Data = nil
			assert.Equal(t, device.Message{Sender: a.inC, Channel: ch, Targeted: op == 's', Hint: device.Hint(hint)}, m, said)
			assert.Equal(t, want, got, said)
		}
		other = map[bool]uint32{true: a.inC, false: 4_000_000}[to]
		require.Equal(t, got, a.golang(op, ch, other, hint, data), said)
		if heard {
			a.r.serve(a.p, func() bool { return len(a.p.messages) > 0 })
			want := message{sender: a.inGo.ID(), channel: ch, targeted: op == 's', hint: hint, data: string(data)}
			require.Equal(t, []message{want}, a.p.heard(), said)
		}
		if op == 'j' || op == 'x' {
			joined[ch] = op == 'j'
		}
		assert.Equal(t, !joined[ch] && (op == 'b' || op == 's'), got == 3, said)
	}
}

// meet lets both join the channel, and know each other.
func (a *pair) meet() {
	for a.c('j', channel, 0, 0, nil) != 0 { // a registration that was repeated may end the first session
	}
	require.Zero(a, a.c('b', channel, 0, 1, []byte("C")))
	a.inC = a.goHears().Sender
}

// c makes a request in C, and returns its code.
func (a *pair) c(op byte, channel, to uint32, hint byte, data []byte) (code int) {
	a.Helper()
	a.p.over()
	a.r.ask(a.p, op, channel, to, 1|hint<<2, string(data))
	a.r.serve(a.p, func() bool {
		i := slices.IndexFunc(a.p.dones, func(d done) bool { return d.op == op })
		if i >= 0 {
			code = a.p.dones[i].code
		}
		return i >= 0
	})
	return code
}

// golang makes the same request in Go, while the puppet goes on.
func (a *pair) golang(op byte, channel, to uint32, hint byte, data []byte) int {
	a.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	result := make(chan error, 1)
	go func() {
		h := device.Hint(hint)
		switch op {
		case 'j':
			result <- a.inGo.Join(ctx, channel)
		case 'x':
			result <- a.inGo.Leave(ctx, channel)
		case 'b':
			result <- a.inGo.Broadcast(ctx, h, data, channel)
		case 's':
			result <- a.inGo.Send(ctx, h, data, []uint32{to}, channel)
		default:
			result <- a.inGo.Ping(ctx)
		}
	}()
	var err error
	a.r.serve(a.p, func() bool {
		select {
		case err = <-result:
			return true
		default:
			return false
		}
	})
	var refused device.Refused
	if errors.As(err, &refused) {
		return int(refused.Code)
	}
	require.NoError(a, err)
	return 0
}

// goHears returns the next message that the client in Go hears, while the puppet goes on.
func (a *pair) goHears() (m device.Message) {
	a.Helper()
	a.r.serve(a.p, func() bool {
		select {
		case m = <-a.inGo.Messages():
			return true
		case <-time.After(time.Millisecond):
			return false
		}
	})
	return m
}
