// Package operator serves what people who run the gateway may do, below
// /operator: sign in, see and manage senders, have the configuration read again.
//
// An operator is somebody else than a device. Devices share the secret key, which
// lies in every sketch; an operator has the admin key, or is a user of the
// configuration with a role. Either is exchanged for a session's token, which
// travels in a header: nothing is sent by a browser on its own.
//
// The package owns sessions, roles and these calls. What a sender is it leaves to
// bridge, who waits after wrong passwords, and how the configuration is read, to
// functions in its Options. It listens to nobody: http mounts its Handler.
package operator
