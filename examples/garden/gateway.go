package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// channel is the conductor's way to the gateway: a WebSocket, on which it speaks and hears.
type channel struct {
	url, token string
	number     uint32
	conn       *websocket.Conn
	heard      chan heard // closed when the connection has ended
	ended      chan struct{}
	reading    sync.WaitGroup
}

// heard is a message on the channel, or the answer to one of the conductor's.
type heard struct {
	Type    string
	Sender  uint32
	Name    string
	Message json.RawMessage
	Ref     string
	Error   *problem
}

// problem is the gateway's word on a request that it refuses.
type problem struct {
	Title, Detail string
}

func (p *problem) Error() string {
	if p.Detail == "" {
		return p.Title
	}
	return p.Detail
}

// silence is how long a gateway may say nothing. It sends a ping every 15 seconds.
const silence = 40 * time.Second

// joinChannel registers a conductor and joins it.
func joinChannel(ctx context.Context, url, key, name string, number uint32) (*channel, error) {
	c := &channel{url: url, number: number, heard: make(chan heard, 256), ended: make(chan struct{})}
	var me struct {
		ID    uint32
		Token string
	}
	if err := c.call(ctx, "/register", map[string]any{"secret_key": key, "name": name}, &me); err != nil {
		return nil, err
	}
	c.token = me.Token
	if err := c.connect(ctx); err != nil {
		return nil, err
	}
	c.reading.Go(c.read)
	return c, nil
}

// connect joins, and hears itself: two conductors of one name are one member, and have to hear
// of each other.
func (c *channel) connect(ctx context.Context) error {
	at := fmt.Sprintf("%s/channels/join?channels=%d&linger=false", c.url, c.number)
	header := http.Header{"Authorization": {"Bearer " + c.token}}
	conn, answer, err := websocket.DefaultDialer.DialContext(ctx, "ws"+strings.TrimPrefix(at, "http"), header)
	if err != nil {
		if answer != nil && answer.StatusCode == http.StatusUnauthorized {
			return fmt.Errorf("another conductor has just taken this one's name")
		}
		if answer != nil {
			return fmt.Errorf("%s: %s: %w", c.url, answer.Status, err)
		}
		return err
	}
	answer.Body.Close()
	c.conn = conn
	return nil
}

// call posts JSON and reads the answer.
func (c *channel) call(ctx context.Context, path string, body, into any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", c.url+path, bytes.NewReader(b))
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("no gateway answers: %w", err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		p := &problem{Title: resp.Status}
		_ = json.Unmarshal(answer, p) // else the status says it
		return fmt.Errorf("%s: %w", c.url, p)
	}
	return json.Unmarshal(answer, into)
}

func (c *channel) read() {
	defer close(c.heard)
	_ = c.conn.SetReadDeadline(time.Now().Add(silence))
	pong := c.conn.PingHandler()
	c.conn.SetPingHandler(func(data string) error {
		_ = c.conn.SetReadDeadline(time.Now().Add(silence))
		return pong(data)
	})
	for {
		_, b, err := c.conn.ReadMessage()
		if err != nil {
			return
		}
		var h heard
		if json.Unmarshal(b, &h) != nil {
			continue // a ref of another kind: it is not ours
		}
		select {
		case c.heard <- h:
		case <-c.ended:
			return
		}
	}
}

// say says something to all on the channel, a text or JSON; ref comes back in the answer.
func (c *channel) say(message any, ref string) error {
	return c.write(map[string]any{"type": "broadcast", "channels": []uint32{c.number}, "message": message, "ref": ref})
}

// tell says something to one, which is of no use to it after so many seconds.
func (c *channel) tell(receiver uint32, text string, ttl int, ref string) error {
	return c.write(map[string]any{"type": "send", "channels": []uint32{c.number}, "receivers": []uint32{receiver}, "message": text, "ttl": ttl, "ref": ref})
}

func (c *channel) write(v any) error {
	_ = c.conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	return c.conn.WriteJSON(v)
}

// close leaves the channel.
func (c *channel) close() {
	bye := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = c.conn.WriteControl(websocket.CloseMessage, bye, time.Now().Add(time.Second))
	close(c.ended)
	_ = c.conn.Close()
	c.reading.Wait()
}
