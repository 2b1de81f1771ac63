// Callback is the smallest receiver of callbacks: it prints each message that
// the gateway posts to it.
//
//	go run ./examples/callback -listen 127.0.0.1:9000
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9000", "host:port to listen on")
	flag.Parse()
	server := &http.Server{
		Addr:              *listen,
		ReadHeaderTimeout: 10 * time.Second,
		Handler:           http.HandlerFunc(receive),
	}
	log.Fatal(server.ListenAndServe())
}

// receive takes one message. Any 2xx tells the gateway that it arrived.
func receive(w http.ResponseWriter, r *http.Request) {
	var m struct {
		Channel, Sender uint32
		Message         any
		Encoding        string         // "base64" where the message is no text
		Offered         map[string]int // of a delivery report, which has no message
		Dropped         map[string]int
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch {
	case m.Offered != nil:
		fmt.Printf("delivery report: offered %v, dropped %v\n", m.Offered, m.Dropped)
	case m.Encoding != "":
		fmt.Printf("%d on channel %d: [%s] %v\n", m.Sender, m.Channel, m.Encoding, m.Message)
	default:
		fmt.Printf("%d on channel %d: %v\n", m.Sender, m.Channel, m.Message)
	}
}
