// Package arduino has the tests of the library for small devices, which is in the folder of
// that name at the top. It has no other code.
//
// The core is compiled for this machine under sanitizers, and speaks to the gateway's own
// session table with a clock that stands still, to a whole gateway over sockets, and to
// nobody but random bytes. It is compiled for the ATmega328P too: the sizes in docs/devices.md are
// those of that code, and a simulated processor runs it against a whole gateway.
package arduino
