package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// identity is a sender at a gateway.
type identity struct {
	ID    uint32 `json:"id"`
	Token string `json:"token"`
}

// web does the calls over HTTP that are not measured, over few connections.
type web struct{ client *http.Client }

func newWeb() *web {
	return &web{&http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: setUps}}}
}

func (w *web) close() { w.client.CloseIdleConnections() }

// call makes a call and returns the answer. A status that is no success is an error.
func (w *web) call(method, url, token, body string) ([]byte, error) {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := w.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err == nil && res.StatusCode/100 != 2 {
		err = fmt.Errorf("%s %s: %s %s", method, url, res.Status, bytes.TrimSpace(answer))
	}
	return answer, err
}

func (s *server) register() (id identity, err error) {
	body, err := json.Marshal(map[string]string{"secret_key": s.opts.SecretKey})
	if err != nil {
		return id, err
	}
	if s.opts.SecretKey == "" {
		body = []byte("{}")
	}
	answer, err := s.web.call("POST", s.opts.URL+"/register", "", string(body))
	if err != nil {
		return id, fmt.Errorf("registering: %w", err)
	}
	if err := json.Unmarshal(answer, &id); err != nil || id.ID == 0 {
		return id, fmt.Errorf("registering: the answer has no id: %s", answer)
	}
	return id, nil
}

// forget deletes a sender, so that a run leaves none behind. If that fails, the gateway
// forgets it after a month.
func (s *server) forget(id identity) {
	if id.ID != 0 {
		_, _ = s.web.call("DELETE", fmt.Sprintf("%s/senders/%d", s.opts.URL, id.ID), id.Token, "")
	}
}

// poster publishes over HTTP: one connection that is kept, one request at a
// time.
type poster struct {
	server *server
	nc     *net.TCPConn
	in     inbox
	out    []byte
	body   []byte
	once   sync.Once
	closed chan struct{}
}

func (s *server) dialPoster() (conn, error) {
	nc, err := dialStream(s.host)
	if err != nil {
		return nil, err
	}
	return &poster{server: s, nc: nc, in: newInbox(4096), closed: make(chan struct{})}, nil
}

// add posts the message and reads the answer.
func (p *poster) add(channel uint32, payload []byte) error {
	b := append(p.body[:0], `{"sender":`...)
	b = strconv.AppendUint(b, uint64(p.server.sender.ID), 10)
	b = append(b, `,"channels":[`...)
	b = append(strconv.AppendUint(b, uint64(channel), 10), ']')
	path := "/broadcast"
	if to := p.server.to; len(to) > 0 {
		path = "/send"
		b = append(b, `,"receivers":`...)
		for i, id := range to {
			b = strconv.AppendUint(append(b, "[,"[min(i, 1)]), uint64(id), 10)
		}
		b = append(b, ']')
	}
	b = append(append(b, `,"message":"`...), payload...)
	p.body = append(b, `"}`...)

	p.out = append(append(append(p.out[:0], "POST "...), path...), " HTTP/1.1\r\nHost: "...)
	p.out = append(append(p.out, p.server.host...), "\r\nContent-Type: application/json\r\nContent-Length: "...)
	p.out = append(strconv.AppendInt(p.out, int64(len(p.body)), 10), "\r\n\r\n"...)
	p.out = append(p.out, p.body...)
	if err := p.nc.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := p.nc.Write(p.out); err != nil {
		return err
	}
	return p.answer()
}

var (
	headEnd       = []byte("\r\n\r\n")
	contentLength = []byte("\r\nContent-Length: ")
	chunkedBody   = []byte("\r\nTransfer-Encoding: chunked\r\n")
)

var errHTTP = errors.New("the server sends what is no HTTP that is expected")

// answer reads one answer. Any 2xx is a success.
func (p *poster) answer() error {
	for {
		b := p.in.rest()
		if end := bytes.Index(b, headEnd); end >= 0 {
			length, err := bodyLength(b[:end+2])
			if err != nil {
				return err
			}
			if total := end + len(headEnd) + length; len(b) >= total {
				p.in.begin += total
				if !success(b) {
					return fmt.Errorf("a publish failed: %s", b[:total])
				}
				return nil
			}
		}
		if err := p.in.read(p.nc); err != nil {
			return err
		}
	}
}

func success(head []byte) bool { return len(head) > 12 && head[9] == '2' }

func bodyLength(head []byte) (int, error) {
	i := bytes.Index(head, contentLength)
	if i < 0 {
		return 0, errHTTP
	}
	text, _, _ := bytes.Cut(head[i+len(contentLength):], []byte("\r\n"))
	return strconv.Atoi(string(text))
}

// listen only waits for close: add reads the answers.
func (p *poster) listen(*ear) error {
	<-p.closed
	return nil
}

func (p *poster) join([]uint32) error { return nil } // the run's sender has
func (p *poster) flush() error        { return nil }
func (p *poster) number() uint32      { return 0 }
func (p *poster) keep() error         { return nil }

func (p *poster) close() {
	p.once.Do(func() { close(p.closed) })
	_ = p.nc.Close()
}
