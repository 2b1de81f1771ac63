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
//
//	calls.go      every call, its role and its function
//	login.go      signing in                  sessions.go   who is signed in
//	live.go       pages on /operator/live     listen.go     the messages that they hear
//	gateway.go    about the gateway           rates.go      messages and drops, a sample a second
//	senders.go    who is here, who left       channels.go   channels, members, how busy
//	say.go        broadcast and send          speakers.go   the sender that an operator speaks as
//	topics.go     retained topics             callbacks.go  callbacks of all senders
//	settings.go   settings in force           homeassistant.go  what Home Assistant is told
//	devices.go    keys of devices' own
//	refusals.go   who showed a wrong key      backup.go     a copy of the data
//	options.go    what the package needs      problem.go    its statuses of HTTP
package operator
