package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
	"watchtower/config"
	devices "watchtower/device"
)

// shownSender is a sender as operators see it.
type shownSender struct {
	ID       uint32
	Name     string
	State    string
	Last     string `json:"last_via"`
	Address  string
	Heard    *time.Time
	Late     bool
	Token    bool
	Channels int
	Left     struct{ Via, Why string }
	On       []uint32
	Lost     []shownLoss
}

type shownLoss struct {
	Sender      uint32
	Name        string
	Via, Reason string
	N           int
	Gone        bool
	Last        time.Time
}

// asks makes a call of an operator, which must succeed, and decodes the answer.
func (r *running) asks(token, call string, into any) {
	r.t.Helper()
	status, answer := r.operate(token, call, "")
	require.Equal(r.t, 200, status, answer)
	require.NoError(r.t, json.Unmarshal([]byte(answer), into))
}

func (r *running) missing(token string) (names []string) {
	r.t.Helper()
	var page struct{ Senders []shownSender }
	r.asks(token, "GET /operator/senders?missing=true", &page)
	for _, s := range page.Senders {
		names = append(names, s.Name)
	}
	return names
}

// An operator sees where devices are, when they were last heard, and who is late.
func TestOperatorsSeeWhenADeviceWasHeard(t *testing.T) {
	t.Parallel()
	cfg := office(t)
	cfg.Wire.IdleTimeout = 4 * time.Second
	r := startWith(t, cfg)
	admin := r.asAdmin()
	show := func(id uint32) (s shownSender) {
		r.asks(admin, fmt.Sprintf("GET /operator/senders/%d", id), &s)
		return s
	}
	session, err := devices.Dial(t.Context(), "udp", r.at.UDP, devices.Options{Secret: cfg.SecretKey, Name: "pump"})
	require.NoError(t, err)
	defer func() { _ = session.Close(context.Background()) }()
	require.NoError(t, session.Join(t.Context(), 5, 7))
	for via, id := range map[string]uint32{"udp": session.ID(), "tcp": r.wire("tcp").id, "mqtt": r.paho("tablet").id} {
		s := show(id)
		assert.Equal(t, "here", s.State, via)
		assert.Equal(t, via, s.Last)
		assert.True(t, strings.HasPrefix(s.Address, "127.0.0.1"), s.Address)
		require.NotNil(t, s.Heard, via)
		assert.WithinDuration(t, time.Now(), *s.Heard, 10*time.Second, via)
		assert.False(t, s.Late || s.Token)
		assert.Equal(t, map[string][]uint32{"udp": {5, 7}, "tcp": {5}, "mqtt": {5}}[via], s.On)
	}
	assert.True(t, show(r.register("lamp").ID).Token)
	assert.Empty(t, r.missing(admin))

	// With basic frames a device is late after half of the time, and gone after all of it.
	id := r.wire("udp").id
	eventually(t, "it is late", func() bool { return show(id).Late })
	var page struct{ Senders []shownSender }
	r.asks(admin, "GET /operator/senders?late=true", &page)
	require.Len(t, page.Senders, 1)
	assert.Equal(t, id, page.Senders[0].ID)
	var gone struct {
		Gone []struct {
			Sender        uint32
			Via, Why      string
			Address, Seen string
			On            []uint32
		}
	}
	eventually(t, "it is gone", func() bool {
		r.asks(admin, "GET /operator/gone", &gone)
		return len(gone.Gone) > 0
	})
	g := gone.Gone[0]
	assert.Equal(t, id, g.Sender)
	assert.Equal(t, "udp silence", g.Via+" "+g.Why)
	assert.Equal(t, []uint32{5}, g.On)
	assert.Contains(t, g.Address, "127.0.0.1:")
	for _, call := range []string{"senders?late=false", "senders?missing=yes", "losses?limit=0", "losses?x=1", "gone?x=1"} {
		status, answer := r.operate(admin, "GET /operator/"+call, "")
		assert.Equal(t, 400, status, "%s: %s", call, answer)
	}
	status, _ := r.operate(admin, "GET /operator/senders/1", "")
	assert.Equal(t, 404, status)
}

// Over HTTP too an operator sees who left without a goodbye.
func TestAStreamLeavesWithAndWithoutAGoodbye(t *testing.T) {
	t.Parallel()
	cfg := office(t)
	cfg.HTTP.MailboxTimeout = short
	r := startWith(t, cfg)
	admin := r.asAdmin()
	left := func(id uint32) string {
		var s shownSender
		r.asks(admin, fmt.Sprintf("GET /operator/senders/%d", id), &s)
		return s.State + " " + s.Left.Via + " " + s.Left.Why
	}
	socket := func(name string) (uint32, *websocket.Conn) {
		id := r.register(name).ID
		c, _, err := websocket.DefaultDialer.Dial(fmt.Sprintf("ws://%s/channels/join?channels=5&sender=%d", r.at.HTTP, id), nil)
		require.NoError(t, err)
		return id, c
	}
	becomes := func(id uint32, want string) {
		t.Helper()
		eventually(t, want, func() bool { return left(id) == want })
	}
	id, c := socket("closed")
	require.NoError(t, c.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseGoingAway, ""), time.Now().Add(time.Second)))
	becomes(id, "away http goodbye")
	c.Close()
	id, c = socket("torn")
	c.NetConn().Close()
	becomes(id, "away http connection")
	id = r.register("killed").ID
	r.follow(fmt.Sprintf("channels=5&sender=%d", id), func([]byte) {})()
	becomes(id, "away http connection")
	id = r.register("leaving").ID
	defer r.follow(fmt.Sprintf("channels=5&sender=%d", id), func([]byte) {})()
	r.post("/channels/leave", fmt.Sprintf(`{"sender":%d,"channels":[5]}`, id), nil)
	becomes(id, "away http goodbye")
	id = r.register("idle").ID
	r.post("/channels/join", fmt.Sprintf(`{"sender":%d,"channels":[5]}`, id), nil)
	becomes(id, "away http silence")
	assert.ElementsMatch(t, []string{"torn", "killed", "idle"}, r.missing(admin))

	// The operator's own sender is never missing.
	status, _ := r.operate(admin, "POST /operator/channels/5/messages", `{"message":"hello"}`)
	require.Equal(t, 200, status)
	r = r.restart(func(*config.Config) {})
	assert.NotContains(t, r.missing(r.asAdmin()), "console")
}

// An operator sees which receivers lost messages, and why.
func TestOperatorsSeeWhoLostMessages(t *testing.T) {
	t.Parallel()
	cfg := office(t)
	cfg.TCP.Queue, cfg.HTTP.StreamQueue, cfg.MQTT.SessionQueue = 2, 2, 2
	cfg.Wire.SessionQueue = 2
	cfg.TCP.WriteTimeout = time.Hour // its queue gets full, however busy the machine
	r := startWith(t, cfg)
	admin := r.asAdmin()
	var answer struct{ Losses []shownLoss }
	lost := func(id uint32) (why []string) {
		answer.Losses = nil
		r.asks(admin, "GET /operator/losses", &answer)
		for _, l := range answer.Losses {
			if l.Sender == id {
				why = append(why, l.Via+" "+l.Reason)
				assert.Positive(t, l.N)
				assert.WithinDuration(t, time.Now(), l.Last, time.Minute)
			}
		}
		return why
	}
	speaker := r.wire("tcp") // a stream that is behind would be ended, and could say no more
	says := func(n, size int) {
		for range n {
			speaker.broadcast(5, make([]byte, size))
		}
	}
	loses := func(id uint32, want string) {
		t.Helper()
		eventually(t, want, func() bool { return strings.Contains(strings.Join(lost(id), ", "), want) })
	}
	small := r.wire("udp")
	says(1, 2000)
	loses(small.id, "udp "+bridge.TooLarge.String())

	box := r.register("box").ID
	r.post("/channels/join", fmt.Sprintf(`{"sender":%d,"channels":[5]}`, box), nil)
	says(5, 1)
	loses(box, "http "+bridge.QueueFull.String())

	conn := slowConn(r, r.at.TCP) // it never reads
	_, err := conn.Write(basicFrame("K", byte(len(key)), key))
	require.NoError(t, err)
	head := make([]byte, 5)
	_, err = io.ReadFull(conn, head)
	require.NoError(t, err)
	id := uint32(head[1]) | uint32(head[2])<<8 | uint32(head[3])<<16 | uint32(head[4])<<24
	_, err = conn.Write(basicFrame("J", id, uint32(5)))
	require.NoError(t, err)
	_, err = io.ReadFull(conn, head)
	require.NoError(t, err)
	lazy := r.register("lazy").ID
	stream := slowConn(r, r.at.HTTP) // nor does this one
	fmt.Fprintf(stream, "GET /channels/join?channels=5&sender=%d HTTP/1.1\r\nHost: x\r\n\r\n", lazy)
	_, err = stream.Read(make([]byte, 1))
	require.NoError(t, err)
	for deadline := time.Now().Add(lenient); len(lost(id)) == 0 || len(lost(lazy)) == 0; {
		require.True(t, time.Now().Before(deadline), "they lose nothing; all losses: %+v", answer.Losses)
		says(20, 60_000)
	}
	eventually(t, "the stream is ended", func() bool {
		var left shownSender
		r.asks(admin, fmt.Sprintf("GET /operator/senders/%d", lazy), &left)
		return left.Left.Why == "slow"
	})
	assert.Equal(t, []string{"tcp queue_full"}, lost(id))
	conn.Close()
	eventually(t, "who is gone is still told of", func() bool {
		r.asks(admin, "GET /operator/losses", &answer)
		return slices.ContainsFunc(answer.Losses, func(l shownLoss) bool { return l.Sender == id && l.Gone })
	})

	sleeper, err := devices.Dial(t.Context(), "udp", r.at.UDP, devices.Options{Secret: cfg.SecretKey, Name: "sleeper", Acknowledge: true})
	require.NoError(t, err)
	defer func() { _ = sleeper.Close(context.Background()) }()
	require.NoError(t, sleeper.Join(t.Context(), 5))
	require.NoError(t, sleeper.Sleep(t.Context(), time.Minute))
	says(5, 1)
	loses(sleeper.ID(), "udp queue_full")
	var s shownSender
	r.asks(admin, fmt.Sprintf("GET /operator/senders/%d", sleeper.ID()), &s)
	require.NotEmpty(t, s.Lost)
	assert.Equal(t, "udp queue_full", s.Lost[0].Via+" "+s.Lost[0].Reason)
}
