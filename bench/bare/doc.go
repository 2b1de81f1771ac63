// Package bare holds servers that do nothing but fan out: what sockets give if
// there are no rules, no bus and no queues that anybody minds. They speak as much
// of the gateway's protocols as the load generator does, so that one generator
// measures both, and their rates are the limits that the gateway is held against.
//
//	tcp.go     basic frames; a goroutine for each connection writes whatever waits
//	udp*.go    basic frames; sendmmsg by 64
//	http.go    net/http up to the stream, which is hijacked: one chunk for all
//	writer.go  the merging writer of TCP and HTTP
//	members.go who is on which channel
//
// They are for measuring on one's own machine only: there is no key.
package bare
