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
		Message         json.RawMessage
	}
	if err := json.NewDecoder(io.LimitReader(r.Body, 1<<20)).Decode(&m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Printf("%d on channel %d: %s\n", m.Sender, m.Channel, m.Message)
}
