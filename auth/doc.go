// Package auth is the one door at which whoever comes shows a key, a password or a
// token, whichever protocol it speaks. It says who may try, counts who was wrong,
// and hashes passwords in an order that lets the right one in. What is right, each
// protocol knows itself, or asks bridge.
//
// # Who waits
//
// Each address has limits.failures wrong tries, of which one is forgiven after each
// limits.failure_interval; a /64 of IPv6 counts as one address. An address that has none
// left waits: whatever it shows is not looked at, the right key neither. That holds
// at once for every door that was reached over a connection: HTTP, MQTT (TCP, TLS,
// WebSocket), basic and session frames over TCP. It also holds for UDP, because a
// handshake proves that the failures came from there. What is registered goes on,
// and never asks the gate; other addresses are not affected.
//
// # Datagrams
//
// The source of a datagram can be forged, so a wrong datagram closes no other door,
// and counts in buckets of its own, each of the same size:
//
//   - wrong keys of basic frames (K), by source, and besides in one bucket of all
//     sources that have not proved their address. Either being empty, a K is answered
//     by E and not looked at. Whoever forges sources can so hold up the registration
//     by K of those that the gateway has not met, never anything else: the id that a
//     source has goes on, and K from the very port that has one is always looked at.
//   - wrong tags of registrations (r), by source. It being empty, an r from there is
//     dropped, unless it carries a valid cookie or its source has proved its address.
//
// An address has proved itself if it finished a session registration or used the
// basic id that was sent to it, over UDP, or showed a right credential over a
// connection. The last 32,768 of them are known. So a forger locks out nobody who
// proved his address: wrong keys of his making do not hinder a registration by
// session frames, and wrong tags do not hinder one from a known address or with a
// cookie. A new device, of an address that a forger drains, waits.
//
// # Passwords
//
// See Passwords.
//
//	gate.go       who may try, over connections    limiter.go    buckets of tokens
//	datagrams.go  the same over UDP                report.go     what the log says of it
//	proved.go     addresses that proved themselves passwords.go  bcrypt, and who waits for it
package auth
