// Package channelmap maps channels to topics that are not the gateway's: those of zigbee2mqtt,
// Tasmota, ESPHome and all else that speaks MQTT. A channel's map (config.Map) says which
// topics come in, so that the channel's members hear what is published there, and to which
// topics goes out what is said on the channel.
//
// The files from top to bottom:
//
//	service.go   carries: from a tree to the hub, and from the hub to a tree
//	maps.go      decides what crosses, and as what; knows no broker and no hub's state
//	template.go  the texts with {{ }} in them
//	filter.go    topic filters
//
// # What crosses
//
// A message crosses once. What came in by a map goes out by no map: its protocol is Protocol,
// which only this package says, and which gateways that share their channels tell each other.
// What went out by a map comes in by no map: the tree does not give back what the gateway
// itself published. So no message goes round, whatever maps there are.
//
// Only broadcasts go out. What comes in is a broadcast of the sender SenderName.
//
// # How to dock a tree
//
// A tree is a broker's: the embedded one, or another one whose client the gateway is. It
// implements Tree, and whoever makes it calls, once, before Serve:
//
//	maps.Dock(tree)
//
// Serve then calls tree.Listen with the filters of the maps. From then on the tree calls
// Service.Hear with what is published there. Hear waits for nothing, so that the tree may call
// it where it reads. A reload calls Listen again with other filters, also while the tree has no
// connection: then it keeps them for later.
package channelmap
