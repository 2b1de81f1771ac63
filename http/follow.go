package http

import (
	"bytes"
	"context"
	"net"
	nethttp "net/http"
	"time"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/history"
)

// joinStream answers GET /channels/join. The sender joins all channels before the client
// gets the status.
func (s *Server) joinStream(w nethttp.ResponseWriter, r *nethttp.Request) error {
	sender, q, err := s.asker(r, "sender", "channels", "echo", "linger", "since", "heartbeats")
	if err != nil {
		return err
	}
	j, by := join{sender: sender}, passOf(r)
	if err := j.read(q, by); err != nil {
		return err
	}
	linger, err := q.flag("linger", true)
	if err != nil {
		return err
	}
	beats, err := q.flag("heartbeats", false)
	if err != nil {
		return err
	}
	j.since, err = readSince(r, q)
	if err != nil {
		return err
	}
	if err := s.count(r); err != nil {
		return err
	}
	st := s.newStream(sender, kindOf(r), linger, beats)
	st.pass, st.voice = by, s.voiceOf(r, sender)
	if err := s.streams.add(st); err != nil {
		return err
	}
	st.heed(by)
	err = st.attach(j)
	if err == nil && st.kind == frames {
		err = st.runSocket(w, r)
	} else if err == nil {
		err = st.takeOver(w)
	}
	if err != nil {
		st.linger = false // leave all channels again
	}
	if err != nil || st.kind == frames {
		st.end()
	}
	return err
}

// newStream makes a stream. Told says that its heartbeats are messages, if it is a WebSocket.
func (s *Server) newStream(sender *bridge.Sender, k kind, linger, told bool) *stream {
	heartbeat := k.heartbeat()
	st := &stream{server: s, sender: sender, kind: k, linger: linger, queue: outbound.NewQueue(s.opts.StreamQueue, s.opts.StreamBytes)}
	if told && k == frames {
		heartbeat = k.toldHeartbeat(s.opts.Heartbeat)
		st.first = heartbeat
	}
	st.writer = outbound.NewWriter(st.queue, outbound.Options{
		Timeout: s.opts.WriteTimeout, Crew: s.crew, Heartbeat: heartbeat, Every: s.opts.Heartbeat,
	})
	return st
}

// attach joins the channels, and collects the missed messages if the join has since. The
// stream ends when its sender has left the last channel.
func (st *stream) attach(j join) error {
	if j.since == nil && !st.kind.ofEvents() {
		return st.attachAll(j)
	}
	return st.server.history.Join(func(now history.Moment) error {
		st.from = now.Here().String()
		if j.since != nil {
			st.missed = now.Missed(*j.since, j.channels, st.sender, j.noEcho)
		}
		return st.attachAll(j)
	})
}

func (st *stream) attachAll(j join) error {
	st.left.Store(int64(len(j.channels)))
	for _, c := range j.channels {
		a := &bridge.Attachment{
			Via: Protocol, Notices: true, Returns: true, Broadcasts: true, Sends: true, NoEcho: j.noEcho, Member: st, Replays: j.since != nil,
			Ended: func() {
				if st.left.Add(-1) == 0 {
					st.part(outOf)
				}
			},
		}
		if err := st.server.hub.Attach(st.sender, c, a); err != nil {
			return err
		}
		st.attachments = append(st.attachments, a)
	}
	return nil
}

// heed ends a stream when the pass that opened it expires or is revoked.
func (st *stream) heed(p *pass) {
	if p == nil {
		return
	}
	late := time.AfterFunc(p.Expires.Sub(st.server.hub.Now()), func() { st.part(expired) })
	revoked := context.AfterFunc(p.life, func() { st.part(expired) })
	st.unheed = func() { late.Stop(); revoked() }
}

// takeOver answers a request with a stream, and moves its connection to the stream's own
// goroutines. Those of net/http, with their buffers and deep stacks, would take most of an
// idle stream's memory.
func (st *stream) takeOver(w nethttp.ResponseWriter) error {
	h := w.Header() // it may have CORS headers
	sockets := &st.server.sockets
	sockets.Add(1) // before Hijack: Serve waits for one of the two
	conn, _, err := nethttp.NewResponseController(w).Hijack()
	if err != nil {
		sockets.Done()
		return err
	}
	if watched, ok := w.(*statusWriter); ok {
		watched.status = nethttp.StatusOK
	}
	h.Set("Content-Type", st.kind.contentType())
	h.Set("Cache-Control", "no-store, no-transform") // a compressing proxy would hold back the end of a message
	h.Set("X-Accel-Buffering", "no")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Date", time.Now().UTC().Format(nethttp.TimeFormat))
	if st.kind.chunked() {
		h.Set("Transfer-Encoding", "chunked")
	} else {
		h.Set("Connection", "close") // not with chunks: some clients would take a lost connection as the end
	}
	var head bytes.Buffer
	head.WriteString(map[bool]string{false: "HTTP/1.0", true: "HTTP/1.1"}[st.kind.chunked()] + " 200 OK\r\n")
	_ = h.Write(&head) // a buffer never fails
	head.WriteString("\r\n")
	st.server.streams.connect(st, conn)
	go func() {
		defer sockets.Done()
		st.serve(conn, head.Bytes())
	}()
	return nil
}

// serve writes the stream until the client goes, or the stream is closed.
func (st *stream) serve(conn net.Conn, head []byte) {
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		watch(conn)
		st.discard() // the client has gone
		st.writer.Close()
	}()
	err := st.catchUp(head)
	if err == nil {
		err = st.writer.Run(conn)
	}
	if err == nil {
		last := st.kind.terminator()
		if why := farewell(st.parting.Load()); why == tooSlow || why == expired || why == outOf {
			last = append(st.kind.end(why), last...)
		}
		err = st.write(last)
	}
	if err != nil {
		st.server.log.WithError(err).Debug("http stream ended")
	}
	_ = conn.Close()
	<-watched
	st.end()
}

// watch returns when the client has gone. It ignores the client's bytes.
func watch(conn net.Conn) {
	var b [64]byte
	for {
		if _, err := conn.Read(b[:]); err != nil {
			return
		}
	}
}

// end takes the stream off its channels, and counts the messages that it did not write.
func (st *stream) end() {
	st.server.streams.remove(st)
	if st.unheed != nil {
		st.unheed()
	}
	if st.conn != nil {
		st.server.hub.Holds().Parted(st.sender, Protocol, st.departure())
	}
	for _, a := range st.attachments {
		if st.linger {
			st.server.hub.DetachLingering(a)
		} else {
			st.server.hub.Detach(a)
		}
	}
	st.discard()
}
