// Package bridge is the heart of the gateway: who is a sender, who is a member
// of which channel, what a message is, and the verbs register, join, leave,
// list, broadcast and send with their rules and errors.
//
// It owns the topic tree and Bus, the interface to MQTT. It knows no protocol:
// bridges such as udp and http translate their clients' requests into its verbs,
// and receive messages through a Link. It publishes every message on the bus and
// delivers only what the bus hands back (Hub.Deliver), so there is one way for a
// message to travel, whichever protocol it came in on.
package bridge
