// Package irc is the bridge between clients of IRC and the gateway's verbs. Channel #5 is channel
// 5. A nick is a sender's name. What is said to a channel is a broadcast, and what is said to a
// nick is a send. The numbers of replies are those of modern.ircdocs.horse.
//
// Each connection has a goroutine that reads and executes lines. What it is told goes through a
// bounded queue, as over TCP. One more goroutine takes messages from the link and puts them into
// the members' queues. A room is a channel with members over IRC; it knows which members its
// clients were told of.
//
//	irc.go       the server: its listeners, its start and end
//	conn.go      one connection: it reads, answers and ends
//	lines.go     reading lines of a bounded length, and slowing floods
//	register.go  CAP, PASS, NICK, USER: who a client is
//	welcome.go   what a client is told first
//	commands.go  which command is executed by what
//	channels.go  JOIN, PART, TOPIC, MODE, NAMES, LIST
//	people.go    WHO, WHOIS, ISON, USERHOST, AWAY
//	talk.go      PRIVMSG, NOTICE
//	past.go      CHATHISTORY
//	rooms.go     who is on a channel, as clients were told
//	deliver.go   from the link into the queues
//	lookup.go    from nicks to senders
//	names.go     names of senders and channels, as IRC can write them
//	render.go    a message as lines
//	numerics.go  the numbers of replies
package irc
