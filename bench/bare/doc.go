// Package bare holds servers that do nothing but fan out. They show what sockets can do
// without rules, a bus and limits for queues: their rates are the limits that the gateway is
// compared with. They speak as much of the gateway's protocols as the load generator does,
// so that one generator measures both.
//
//	tcp.go     basic frames; a goroutine for each connection writes all that waits
//	udp*.go    basic frames; sendmmsg by 64
//	http.go    net/http up to the stream, which is hijacked: one chunk for all
//	writer.go  the merging writer of TCP and HTTP
//	members.go who is on which channel
//
// They are only for measurements on one's own machine: they check no key.
package bare
