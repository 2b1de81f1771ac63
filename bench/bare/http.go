package bare

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// HTTP serves /register, /channels/join and /broadcast, and the other calls of the
// generator.
type HTTP struct {
	members *members[*writer]
	mu      sync.Mutex
	open    map[net.Conn]bool // hijacked
	ended   bool
	streams sync.WaitGroup
}

// Serve serves until ctx ends, and closes the listener. It returns when every
// goroutine has ended.
func (h *HTTP) Serve(ctx context.Context, l net.Listener) error {
	h.members, h.open = newMembers[*writer](), map[net.Conn]bool{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /register", h.register)
	mux.HandleFunc("GET /channels/join", h.join)
	mux.HandleFunc("POST /broadcast", h.broadcast)
	mux.HandleFunc("DELETE /senders/{id}", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		_ = server.Close() // its error would be the listener's, which has ended
		h.end()
	})
	err := server.Serve(l)
	if !stop() {
		<-stopped
	}
	h.end()
	h.streams.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

func (h *HTTP) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	for c := range h.open {
		c.Close()
	}
}

func (h *HTTP) register(w http.ResponseWriter, _ *http.Request) {
	fmt.Fprintf(w, `{"id":%d,"token":"none"}`, h.members.register(nil))
}

const streamHead = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n\n\r\n"

// join hijacks the connection, and makes it a member. With echo=false the connection is a
// publisher's, which needs no membership here.
func (h *HTTP) join(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	var channels []uint32
	for text := range strings.SplitSeq(q.Get("channels"), ",") {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		channels = append(channels, uint32(n))
	}
	c, rest, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ended {
		c.Close()
		return
	}
	h.open[c] = true
	out := newWriter(c)
	out.queue([]byte(streamHead))
	for _, channel := range channels {
		if q.Get("echo") != "false" {
			h.members.join(channel, out)
		}
	}
	h.streams.Go(out.run)
	h.streams.Go(func() {
		_, _ = rest.ReadByte() // returns when the connection ends
		h.members.leave(0, out)
		out.close()
		c.Close()
		h.mu.Lock()
		delete(h.open, c)
		h.mu.Unlock()
	})
}

// said is the body of a broadcast.
type said struct {
	Sender   uint32          `json:"sender"`
	Channels []uint32        `json:"channels"`
	Message  json.RawMessage `json:"message"`
}

// broadcast frames the message once, as a line as long as the gateway's.
func (h *HTTP) broadcast(w http.ResponseWriter, r *http.Request) {
	var m said
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	now := time.Now().UTC().Format("2006-01-02T15:04:05.000Z")
	for _, channel := range m.Channels {
		line := fmt.Appendf(nil, `{"id":"01J00000000000000000000000","time":"%s","type":"broadcast","channel":%d,"sender":%d,"message":%s}`+"\n",
			now, channel, m.Sender, m.Message)
		chunk := fmt.Appendf(nil, "%x\r\n%s\r\n", len(line), line)
		for _, to := range h.members.on(channel) {
			to.queue(chunk)
		}
	}
	_, _ = w.Write([]byte(`{"id":"01J00000000000000000000000"}`)) // a publisher that is gone does not need it
}
