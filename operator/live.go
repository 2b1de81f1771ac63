package operator

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	nethttp "net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"watchtower/bridge"
	"watchtower/ticker"
)

// What a page on /operator/live may hold and take.
const (
	tokenPatience = 5 * time.Second       // for its first frame
	gatherFor     = 50 * time.Millisecond // what waits goes out in one frame
	pageBytes     = 8 << 20               // that wait for it
	requestBytes  = 1 << 20               // of one frame of its
	listensMost   = 64                    // channels
	usualMost     = 200                   // messages a second of one channel
	pingEvery     = 25 * time.Second
	pongPatience  = 60 * time.Second
	endPatience   = time.Second // for the last frame
)

// Close codes beyond those of RFC 6455.
const (
	closeNoSession = 4401 // as status 401
	closeNoRole    = 4403
	closeTooLate   = 4408 // as status 408
)

var upgrader = websocket.Upgrader{
	ReadBufferSize: 1024, WriteBufferSize: 4096, WriteBufferPool: &sync.Pool{},
	// http has looked at where the page is from.
	CheckOrigin: func(*nethttp.Request) bool { return true },
}

// page is one that looks on, by a WebSocket.
type page struct {
	service *Service
	conn    *websocket.Conn
	request *nethttp.Request
	who     caller
	wake    chan struct{} // there is something to write

	mu        sync.Mutex
	waiting   []byte // lines
	ended     int    // the close code; 0: it goes on
	why       string
	rates     bool
	channels  bool
	callbacks bool
	listening map[bridge.Channel]*listening
}

// live answers GET /operator/live: it serves a page until that or the gateway ends.
func (s *Service) live(w nethttp.ResponseWriter, r *request) error {
	if err := onlyQuery(r); err != nil {
		return err
	}
	if !websocket.IsWebSocketUpgrade(r.Request) {
		return fault(invalidField, "Upgrade", "must be websocket: this is a WebSocket")
	}
	conn, err := upgrader.Upgrade(w, r.Request, nil)
	if err != nil {
		return nil // it was answered
	}
	defer func() { _ = conn.Close() }()
	p := &page{service: s, conn: conn, request: r.Request, wake: make(chan struct{}, 1), listening: map[bridge.Channel]*listening{}}
	if !s.pages.add(p) {
		p.end(websocket.CloseGoingAway, "the gateway is stopping")
		p.sayGoodbye()
		return nil
	}
	defer s.pages.remove(p)
	if !p.signIn() {
		p.sayGoodbye()
		return nil
	}
	written := make(chan struct{})
	go func() { // ends with the page
		defer close(written)
		p.write()
	}()
	p.read()
	p.end(websocket.CloseNormalClosure, "")
	<-written
	return nil
}

// signIn reads the first frame, {"token":"wtc_…"}, which an open gateway may do without.
func (p *page) signIn() bool {
	p.conn.SetReadLimit(requestBytes)
	_ = p.conn.SetReadDeadline(time.Now().Add(tokenPatience))
	var first struct {
		Token string `json:"token"`
	}
	if err := p.conn.ReadJSON(&first); err != nil {
		code := closeNoSession
		if late := net.Error(nil); errors.As(err, &late) && late.Timeout() { // it says nothing of the session
			code = closeTooLate
		}
		p.end(code, `the first frame must be {"token":"wtc_…"}, within 5 s`)
		return false
	}
	who, err := p.service.find(p.request, first.Token, Look)
	if err != nil {
		p.end(closeNoSession, "that is no session's token, or the session has ended")
		return false
	}
	p.who = who
	p.service.opts.Known(p.request)
	return true
}

// end makes the writer say goodbye, for the first reason that it is given.
func (p *page) end(code int, why string) {
	p.mu.Lock()
	if p.ended == 0 {
		p.ended, p.why = code, why
	}
	p.mu.Unlock()
	p.rouse()
}

func (p *page) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// line has a value written as a line of JSON.
func (p *page) line(v any) {
	b, _ := json.Marshal(v) // plain structs: cannot fail
	p.raw(b)
}

// raw has a line written, without its newline. A page that reads too slowly ends.
func (p *page) raw(line []byte) {
	p.mu.Lock()
	p.rawLocked(line)
	p.mu.Unlock()
	p.rouse()
}

func (p *page) rawLocked(line []byte) {
	switch {
	case p.ended != 0:
	case len(p.waiting)+len(line) >= pageBytes:
		p.ended, p.why = websocket.CloseTryAgainLater, "it read too slowly"
	default:
		p.waiting = append(append(p.waiting, line...), '\n')
	}
}

// write writes what waits, at most once each gatherFor, until the page ends.
func (p *page) write() {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	defer func() { _ = p.conn.Close() }() // so that read ends
	for {
		select {
		case <-p.wake:
		case <-ping.C:
			if p.conn.WriteControl(websocket.PingMessage, nil, p.patience()) != nil || !p.stillCounts() {
				return
			}
			continue
		}
		time.Sleep(gatherFor)
		p.mu.Lock()
		text, ended := p.waiting, p.ended
		p.waiting = nil
		p.mu.Unlock()
		if len(text) > 0 {
			_ = p.conn.SetWriteDeadline(p.patience())
			if p.conn.WriteMessage(websocket.TextMessage, text[:len(text)-1]) != nil {
				p.end(websocket.CloseNormalClosure, "")
				return
			}
		}
		if ended != 0 {
			p.sayGoodbye()
			return
		}
	}
}

func (p *page) patience() time.Time { return time.Now().Add(p.service.opts.WriteTimeout) }

// stillCounts ends a page whose session has ended.
func (p *page) stillCounts() bool {
	if p.service.stillCounts(p.who) {
		return true
	}
	p.end(closeNoSession, "the session has ended")
	p.sayGoodbye()
	return false
}

func (p *page) sayGoodbye() {
	p.mu.Lock()
	code, why := p.ended, p.why
	p.mu.Unlock()
	_ = p.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(code, why), time.Now().Add(endPatience))
}

// asked is one request of a page. It has one of the verbs, and a ref if it wants an answer.
type asked struct {
	Follow   string          `json:"follow"`
	Unfollow string          `json:"unfollow"`
	Listen   bridge.Channel  `json:"listen"`
	Unlisten bridge.Channel  `json:"unlisten"`
	Since    string          `json:"since"`
	Most     int             `json:"most"`
	Say      json.RawMessage `json:"say"`
	Ref      json.RawMessage `json:"ref"`
}

// read executes what the page asks for, until it goes.
func (p *page) read() {
	defer p.unlistenAll()
	p.conn.SetPongHandler(func(string) error { return p.conn.SetReadDeadline(time.Now().Add(pongPatience)) })
	for {
		_ = p.conn.SetReadDeadline(time.Now().Add(pongPatience))
		kind, b, err := p.conn.ReadMessage()
		if err != nil {
			return
		}
		var a asked
		if kind != websocket.TextMessage || json.Unmarshal(b, &a) != nil {
			p.end(websocket.CloseUnsupportedData, "a frame must be text with one JSON object")
			return
		}
		if err := p.execute(a); err != nil {
			p.refuse(a, err)
		}
	}
}

func (p *page) execute(a asked) error {
	switch {
	case a.Follow != "" || a.Unfollow != "":
		return p.follow(a)
	case a.Listen != 0:
		return p.listen(a)
	case a.Unlisten != 0:
		p.unlisten(a.Unlisten)
		return nil
	case a.Say != nil:
		return p.say(a)
	}
	return fault(invalidField, "", "names nothing to do: follow, unfollow, listen, unlisten or say")
}

func (p *page) follow(a asked) error {
	on, what := a.Follow != "", a.Follow+a.Unfollow
	p.mu.Lock()
	defer p.mu.Unlock()
	switch what {
	case "rates":
		p.rates = on
	case "channels":
		p.channels = on
		p.service.pulses.looking(p.service.opts.Now(), p.service.hub)
	case "callbacks":
		p.callbacks = on
	default:
		return fault(invalidField, "follow", "must be rates, channels or callbacks, is %q", bridge.Shorten(what))
	}
	return nil
}

// refuse answers a request that failed.
func (p *page) refuse(a asked, err error) {
	var shown *bridge.Error
	if !errors.As(err, &shown) {
		p.service.log.WithError(err).Error("operator's request failed")
		shown = fault(internalError, "", "the gateway failed in a way that it logged")
	}
	p.line(struct {
		Type    string          `json:"type"`
		Ref     json.RawMessage `json:"ref,omitempty"`
		Channel bridge.Channel  `json:"channel,omitempty"`
		Problem problem         `json:"problem"`
	}{"refused", a.Ref, a.Listen, problemOf(shown)})
}

// pages are those that look on.
type pages struct {
	mu      sync.Mutex
	all     map[*page]struct{}
	closed  bool
	serving sync.WaitGroup
}

func (ps *pages) add(p *page) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if ps.closed {
		return false
	}
	ps.all[p] = struct{}{}
	ps.serving.Add(1)
	return true
}

func (ps *pages) remove(p *page) {
	ps.mu.Lock()
	delete(ps.all, p)
	ps.mu.Unlock()
	ps.serving.Done()
}

// each calls f with every page.
func (ps *pages) each(f func(*page)) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for p := range ps.all {
		f(p)
	}
}

// none reports whether there is no page.
func (ps *pages) none() bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	return len(ps.all) == 0
}

// close ends all pages, and waits until they have ended.
func (ps *pages) close() {
	ps.mu.Lock()
	ps.closed = true
	ps.mu.Unlock()
	ps.each(func(p *page) { p.end(websocket.CloseGoingAway, "the gateway is stopping") })
	ps.serving.Wait()
}

// tell takes samples, and tells pages what they follow, until ctx ends.
func (s *Service) tell(ctx context.Context) {
	t := ticker.New(time.Second)
	defer t.Stop()
	callbacks := uint64(0)
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			t.Next()
		}
		if n%int(sampleEvery/time.Second) == 0 {
			s.recorder.record(s.opts.Now())
			s.tellRates()
		}
		s.tellChannels()
		callbacks = s.tellCallbacks(callbacks)
		s.pages.each((*page).tellSkipped)
	}
}
