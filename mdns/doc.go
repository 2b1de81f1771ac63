// Package mdns announces services to the local network and finds them there, by multicast
// DNS (RFC 6762) and service discovery (RFC 6763).
//
//	server.go     sockets, interfaces and goroutines of a Server
//	socket.go     one socket for each family of addresses
//	place.go      the interfaces of the machine
//	responder.go  decides what to say where and when; does no I/O and knows no clock
//	records.go    the records that a link has
//	answer.go     questions and their answers
//	conflict.go   names that somebody else has
//	browse.go     finding services
//	message.go    the codec
//
// A link is one family of addresses of one interface. What is announced on a link are the
// services that listen on an address of its family there. A name that is taken gets a number.
package mdns
