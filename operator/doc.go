// Package operator serves the API for people who run the gateway, below /operator: they
// sign in, see what is said and lost, manage senders and channels, speak, reload the
// configuration and take backups.
//
// An operator is not a device. Devices share the secret key, which is in every sketch. An
// operator has the admin key, or is a configured user with a role. Signing in exchanges
// the key or password for a session's token. The token is sent in a header, so a browser
// never sends it by itself.
//
// The package owns sessions, roles and these calls. Package bridge owns the senders.
// Functions in Options decide who waits after wrong passwords, and read the
// configuration. The package listens on no port: http mounts its Service.
package operator
