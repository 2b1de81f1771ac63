// Device does in Go what an Arduino does: it registers over UDP with the secret key, joins a
// channel, prints the messages there, and says hello once. If the gateway has forgotten it,
// after a restart, it registers again. It imports no package of Watchtower: it writes the
// frames by hand, as a sketch would.
//
//	go run ./examples/device -key "$(./watchtower secret-key)"
package main

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"time"
)

var le = binary.LittleEndian

func main() {
	gateway := flag.String("gateway", "localhost:3033", "host:port of the gateway")
	key := flag.String("key", "", "the gateway's secret key")
	channel := flag.Uint("channel", 5, "the channel to join")
	hello := flag.String("say", "hello from a device", "what to say once; empty: nothing")
	ping := flag.Duration("ping", 25*time.Second, "how often to say that it is there")
	flag.Parse()

	conn, err := net.Dial("udp", *gateway)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	for first := true; ; first = false {
		id := join(conn, *key, uint32(*channel))
		fmt.Printf("I am %d on channel %d\n", id, *channel)
		if first && *hello != "" { // M id4 channel4 len4 data
			m := le.AppendUint32(le.AppendUint32([]byte{'M'}, id), uint32(*channel))
			_, _ = conn.Write(append(le.AppendUint32(m, uint32(len(*hello))), *hello...))
		}
		listen(conn, id, *ping) // until the gateway does not know the id any more
	}
}

// join registers and joins: K len1 key → A id4, J id4 channel4 → A channel4.
func join(conn net.Conn, key string, channel uint32) (id uint32) {
	id = ask(conn, append([]byte{'K', byte(len(key))}, key...))
	ask(conn, le.AppendUint32(le.AppendUint32([]byte{'J'}, id), channel))
	return id
}

// ask repeats a request until it is answered, because datagrams get lost and gateways
// restart.
func ask(conn net.Conn, request []byte) uint32 {
	buf := make([]byte, 1200)
	for {
		_, _ = conn.Write(request) // a refused datagram is a lost one
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		n, err := conn.Read(buf)
		switch {
		case err != nil:
			time.Sleep(time.Second)
		case n == 5 && buf[0] == 'A':
			return le.Uint32(buf[1:])
		case n == 1 && buf[0] == 'E':
			log.Fatal("refused: is the key right?")
		}
	}
}

// listen prints deliveries: M sender4 channel4 type2 len4 data. From time to time it sends
// P id4: only datagrams that the device sends keep its id.
func listen(conn net.Conn, id uint32, ping time.Duration) {
	buf := make([]byte, 1200)
	next := time.Now()
	for {
		if !time.Now().Before(next) {
			_, _ = conn.Write(le.AppendUint32([]byte{'P'}, id))
			next = time.Now().Add(ping)
		}
		_ = conn.SetReadDeadline(next)
		n, err := conn.Read(buf)
		switch {
		case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
			time.Sleep(time.Second) // nobody listens there just now
			next = time.Now()
		case n >= 15 && buf[0] == 'M':
			fmt.Printf("%d on channel %d: %s\n", le.Uint32(buf[1:]), le.Uint32(buf[5:]), buf[15:n])
		case n == 1 && buf[0] == 'E':
			return
		}
	}
}
