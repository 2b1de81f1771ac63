// Package auth limits how often clients of all protocols may try a key, a password or a
// token. It says who may try, counts wrong tries, and hashes passwords in an order that
// lets right ones in during an attack. Whether a key or token is right is checked by each
// protocol, or by bridge.
//
// # Who waits
//
// Each address has limits.failures wrong tries, and gets one back after each
// limits.failure_interval. A /64 of IPv6 counts as one address. An address that has none
// left waits: nothing that it shows is checked, not even the right key. All protocols
// with connections share these tries: HTTP, MQTT (TCP, TLS, WebSocket), basic and session
// frames over TCP. The address waits on UDP too, because the handshakes proved that the
// failures came from there. Registered clients go on, because they do not ask the gate.
// Other addresses are not affected.
//
// # Datagrams
//
// The source of a datagram can be forged. So wrong datagrams take no tries from the other
// protocols. They count in buckets of their own, each of the same size:
//
//   - Wrong keys of basic frames (K) count in a bucket of their source. If the source has
//     not proved its address, they also count in one bucket of all such sources. While
//     one of these two is empty, a K is answered by E and not checked. So a forger can
//     delay registrations by K of sources that the gateway does not know, and nothing
//     else: ids that sources have stay valid, and a K from the address and port of an id
//     is always checked.
//   - Wrong tags of registrations (r) count in a bucket of their source. While it is
//     empty, an r from there is dropped, unless it carries a valid cookie or its source
//     has proved its address.
//
// An address has proved itself if, over UDP, it finished a session registration or used
// the basic id that was sent to it, or if it showed a right credential over a connection.
// The last 32,768 of these addresses are known. So a forger cannot lock out an address
// that proved itself: wrong keys do not hinder a registration by session frames, and wrong
// tags do not hinder one from a known address or with a cookie. A new device waits if a
// forger uses up the tries of its address.
//
// # Passwords
//
// See Passwords.
//
//	gate.go       who may try, over connections    buckets.go    buckets of tokens
//	datagrams.go  who may try, over UDP            report.go     log lines about refusals
//	proved.go     addresses that proved themselves wrongs.go     who was wrong most lately
//	passwords.go  bcrypt and its queue
package auth
