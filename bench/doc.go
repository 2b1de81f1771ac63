// Package bench is a load generator: it measures what a gateway, or any MQTT
// broker, delivers through real sockets. Publishers and receivers speak a
// protocol each; every message says who sent it, which it is and when, and every
// receiver checks that each came once, in order and unchanged.
//
// It owns its connections and nothing else: it starts no server. It shares its
// machine with what it measures, so it is written to cost little: one goroutine
// for each connection, reads and writes of whatever waits, datagrams in batches,
// and parsers that look at no more than they have to. Hence codecs of its own for
// MQTT and HTTP, which serve no other purpose.
//
//	options.go    what to run                 run.go        from set-up to result
//	plan.go       who is on which channel     publish.go    a publisher's loop
//	payload.go    what a message carries      flight.go     messages that are out
//	ear.go        a receiver's checks         histogram.go  latencies
//	basic.go, session.go, mqtt.go, http.go, stream.go       the protocols
//	process.go    the server's costs          metrics.go    the gateway's own counts
//	idle.go       memory of idle connections  result.go     what came out
//	table.go      as people read it
package bench
