// Package bench is a load generator: it measures what a gateway, or any MQTT broker,
// delivers through real sockets. Publishers speak one protocol, receivers one. Every message
// carries its publisher, its number and its time. Every receiver checks that each message
// came once, in order and unchanged.
//
// The package owns its connections and nothing else: it starts no server. It shares the
// machine with the server that it measures, so it costs little: one goroutine for each
// connection, reads and writes of all that waits, datagrams in batches, and parsers that
// read only what they need. For that it has its own codecs for MQTT and HTTP.
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
