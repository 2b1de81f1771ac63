package house

import (
	"encoding/json"
	"maps"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
)

// socket is a connection to the WebSocket API.
type socket struct {
	conn    *websocket.Conn
	reading sync.WaitGroup

	mu      sync.Mutex
	last    int                 // id of the last command
	answers map[int]chan answer // by id; each gets one
	events  map[int]*Events     // by id
	gone    chan struct{}       // closed when the connection has ended
}

type answer struct {
	ID      int
	Type    string
	Success bool
	Result  json.RawMessage
	Event   json.RawMessage
	Error   json.RawMessage
}

// Events are what a subscription of the WebSocket API has brought.
type Events struct {
	mu  sync.Mutex
	all []json.RawMessage
}

// Take returns the events since the last call.
func (e *Events) Take() []json.RawMessage {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := e.all
	e.all = nil
	return all
}

func (h *House) connect(token string) *socket {
	h.t.Helper()
	conn, resp, err := websocket.DefaultDialer.Dial("ws://"+h.at+"/api/websocket", nil)
	require.NoError(h.t, err)
	_ = resp.Body.Close() // empty
	var hello struct{ Type string }
	require.NoError(h.t, conn.ReadJSON(&hello))
	require.NoError(h.t, conn.WriteJSON(map[string]string{"type": "auth", "access_token": token}))
	require.NoError(h.t, conn.ReadJSON(&hello))
	require.Equal(h.t, "auth_ok", hello.Type)
	s := &socket{conn: conn, answers: map[int]chan answer{}, events: map[int]*Events{}, gone: make(chan struct{})}
	s.reading.Go(s.read)
	return s
}

func (s *socket) read() {
	defer close(s.gone)
	for {
		var a answer
		if s.conn.ReadJSON(&a) != nil {
			return
		}
		s.mu.Lock()
		waits, events := s.answers[a.ID], s.events[a.ID]
		if a.Type == "result" {
			delete(s.answers, a.ID)
		}
		s.mu.Unlock()
		switch {
		case a.Type == "event" && events != nil:
			events.mu.Lock()
			events.all = append(events.all, a.Event)
			events.mu.Unlock()
		case a.Type == "result" && waits != nil:
			waits <- a // has room for one
		}
	}
}

func (h *House) hangUp() {
	if h.socket != nil {
		_ = h.socket.conn.Close()
		h.socket.reading.Wait()
		h.socket = nil
	}
}

// Ask sends a command of the WebSocket API and returns its result. The test fails if the
// command does.
func (h *House) Ask(command string, with map[string]any) json.RawMessage {
	h.t.Helper()
	a := h.ask(command, with, nil)
	require.True(h.t, a.Success, "%s %v: %s", command, with, a.Error)
	return a.Result
}

// Subscribe is Ask for commands that bring events: subscribe_events, subscribe_trigger.
func (h *House) Subscribe(command string, with map[string]any) *Events {
	h.t.Helper()
	events := &Events{}
	a := h.ask(command, with, events)
	require.True(h.t, a.Success, "%s %v: %s", command, with, a.Error)
	return events
}

func (h *House) ask(command string, with map[string]any, events *Events) answer {
	h.t.Helper()
	s := h.socket
	message := map[string]any{"type": command}
	maps.Copy(message, with)
	waits := make(chan answer, 1)
	s.mu.Lock()
	s.last++
	message["id"] = s.last
	s.answers[s.last] = waits
	if events != nil {
		s.events[s.last] = events
	}
	err := s.conn.WriteJSON(message)
	s.mu.Unlock()
	require.NoError(h.t, err)
	select {
	case a := <-waits:
		return a
	case <-s.gone:
		require.Fail(h.t, "the connection to Home Assistant ended", tail(h.Log(), 2000))
	case <-time.After(Patience):
		require.Fail(h.t, "Home Assistant does not answer "+command, tail(h.Log(), 2000))
	}
	return answer{}
}
