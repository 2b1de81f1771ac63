// Callback is a small receiver of callbacks: it registers, joins channel 5 by a callback,
// and prints each message that the gateway posts to it. The library of the Standard
// Webhooks specification checks that the messages come from the gateway. At Ctrl-C it leaves the
// channel: a callback that just ends stays a member, for which messages wait.
//
// On the gateway's own machine the gateway has to allow it: --allow-callbacks 127.0.0.1.
//
//	go run ./examples/callback -key SECRET_KEY
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

func main() {
	gateway := flag.String("gateway", "http://127.0.0.1:8080", "the gateway's URL")
	key := flag.String("key", "", "the gateway's secret key")
	listen := flag.String("listen", "127.0.0.1:9000", "host:port to listen on, as the gateway reaches it")
	channel := flag.Uint("channel", 5, "the channel to join")
	flag.Parse()
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	me := sender{gateway: *gateway}
	me.call("/register", map[string]any{"secret_key": *key, "name": "callback-example"}, &me)
	var joined struct{ Secret string }
	me.call("/channels/join/async", map[string]any{
		"channels": []uint{*channel}, "callback_url": "http://" + listener.Addr().String() + "/",
	}, &joined)
	webhook, err := standardwebhooks.NewWebhook(joined.Secret)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("I am %d, and hear channel %d at %s\n", me.ID, *channel, listener.Addr())
	stopped, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: receiver{webhook}}
	go func() {
		<-stopped.Done()
		me.call("/channels/leave", map[string]any{"channels": []uint{*channel}}, nil)
		_ = server.Close()
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
}

// sender is who this is at the gateway.
type sender struct {
	ID      uint32
	Token   string
	gateway string
}

// call posts JSON as the sender, and reads the answer, unless into is nil.
func (s sender) call(path string, body, into any) {
	b, err := json.Marshal(body)
	if err != nil {
		log.Fatal(err)
	}
	req, err := http.NewRequest("POST", s.gateway+path, bytes.NewReader(b))
	if err != nil {
		log.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if s.Token != "" {
		req.Header.Set("Authorization", "Bearer "+s.Token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		log.Fatalf("%s: %s %v", path, answer, err)
	}
	if into == nil {
		return
	}
	if err := json.Unmarshal(answer, into); err != nil {
		log.Fatal(err)
	}
}

type receiver struct{ webhook *standardwebhooks.Webhook }

// ServeHTTP takes one message. Any 2xx tells the gateway that it arrived.
func (rc receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return // the gateway tries again
	}
	if err := rc.webhook.Verify(body, r.Header); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	var m struct {
		Channel, Sender uint32
		Message         json.RawMessage
		Encoding        string // "base64" where the message is no text
	}
	if err := json.Unmarshal(body, &m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var text string // of a string; other JSON is printed as it is
	if json.Unmarshal(m.Message, &text) != nil || string(m.Message) == "null" {
		text = string(m.Message)
	}
	if m.Encoding != "" {
		text = "[" + m.Encoding + "] " + text
	}
	fmt.Printf("%d on channel %d: %s\n", m.Sender, m.Channel, text)
}
