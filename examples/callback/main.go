// Callback is a small receiver of callbacks: it registers, joins channel 5 by a callback,
// and prints each message that the gateway posts to it. The library of the Standard
// Webhooks specification checks that the messages come from the gateway.
//
// On the gateway's own machine the gateway has to allow it: --allow-callbacks 127.0.0.1.
//
//	go run ./examples/callback -key SECRET_KEY
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
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
	var me struct{ ID uint32 }
	call(*gateway+"/register", map[string]any{"secret_key": *key, "name": "callback-example"}, &me)
	var joined struct{ Secret string }
	call(*gateway+"/channels/join/async", map[string]any{
		"sender": me.ID, "channels": []uint{*channel}, "callback_url": "http://" + listener.Addr().String() + "/",
	}, &joined)
	webhook, err := standardwebhooks.NewWebhook(joined.Secret)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("I am %d, and hear channel %d at %s\n", me.ID, *channel, listener.Addr())
	server := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: receiver{webhook}}
	log.Fatal(server.Serve(listener))
}

// call posts JSON, and reads the answer.
func call(url string, body, into any) {
	b, err := json.Marshal(body)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := http.Post(url, "application/json", bytes.NewReader(b))
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		log.Fatalf("%s: %s %v", url, answer, err)
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
