// Device is what an Arduino does, in Go: it registers over UDP with the secret
// key, joins a channel, prints what is said there, and says hello once. It
// imports nothing of Watchtower's: the frames are written by hand, as a sketch
// would.
//
//	go run ./examples/device -key "$(cat ~/.local/state/watchtower/gateway.key)"
package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"log"
	"net"
	"time"
)

var le = binary.LittleEndian

func main() {
	gateway := flag.String("gateway", "localhost:3033", "host:port of the gateway")
	key := flag.String("key", "", "the gateway's secret key")
	channel := flag.Uint("channel", 5, "the channel to join")
	hello := flag.String("say", "hello from a device", "what to say once; empty: nothing")
	flag.Parse()

	conn, err := net.Dial("udp", *gateway)
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()

	// K len1 key → A id4
	answer := ask(conn, append([]byte{'K', byte(len(*key))}, *key...))
	id := le.Uint32(answer[1:])
	// J id4 channel4 → A channel4
	ask(conn, le.AppendUint32(le.AppendUint32([]byte{'J'}, id), uint32(*channel)))
	fmt.Printf("I am %d on channel %d\n", id, *channel)

	if *hello != "" { // M id4 channel4 len4 data
		m := le.AppendUint32(le.AppendUint32([]byte{'M'}, id), uint32(*channel))
		m = append(le.AppendUint32(m, uint32(len(*hello))), *hello...)
		if _, err := conn.Write(m); err != nil {
			log.Fatal(err)
		}
	}
	listen(conn, le.AppendUint32([]byte{'P'}, id))
}

// ask sends a request until it is answered: datagrams get lost.
func ask(conn net.Conn, request []byte) []byte {
	buf := make([]byte, 1200)
	for range 5 {
		if _, err := conn.Write(request); err != nil {
			log.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		n, err := conn.Read(buf)
		switch {
		case err != nil:
		case n == 5 && buf[0] == 'A':
			return buf[:n]
		case n == 1 && buf[0] == 'E':
			log.Fatal("refused: is the key right?")
		}
	}
	log.Fatal("no gateway answers")
	return nil
}

// listen prints deliveries, and keeps the id alive: M sender4 channel4 type2
// len4 data.
func listen(conn net.Conn, ping []byte) {
	buf := make([]byte, 1200)
	for {
		_ = conn.SetReadDeadline(time.Now().Add(25 * time.Second))
		n, err := conn.Read(buf)
		switch {
		case err != nil:
			if _, err := conn.Write(ping); err != nil {
				log.Fatal(err)
			}
		case n >= 15 && buf[0] == 'M':
			fmt.Printf("%d on channel %d: %s\n", le.Uint32(buf[1:]), le.Uint32(buf[5:]), buf[15:n])
		case n == 1 && buf[0] == 'E':
			log.Fatal("the gateway does not know me any more")
		}
	}
}
