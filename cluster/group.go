package cluster

import (
	"encoding/binary"

	"watchtower/bridge"
)

// A shared subscription as an entry:
//
//	filter long | connected, away uvarint
//
// In a message, who hands it to a client of which shared subscription:
//
//	count uvarint | slot u8, filter long | …
func appendGroup(b []byte, g bridge.PeerGroup) []byte {
	b = append(b, byte(kindGroup))
	b = binary.AppendUvarint(b, uint64(groupBytes(g)))
	b = appendLong(b, g.Filter)
	b = binary.AppendUvarint(b, uint64(g.Connected))
	return binary.AppendUvarint(b, uint64(g.Away))
}

func groupBytes(g bridge.PeerGroup) int {
	return longBytes(len(g.Filter)) + uvarintBytes(uint64(g.Connected)) + uvarintBytes(uint64(g.Away))
}

func readGroup(body []byte) (g bridge.PeerGroup, ok bool) {
	c := cursor{b: body}
	g.Filter = string(c.long())
	g.Connected, g.Away = int(c.number()), int(c.number())
	return g, !c.bad && g.Filter != ""
}

func picksBytes(all []bridge.GroupPick) int {
	n := uvarintBytes(uint64(len(all)))
	for _, p := range all {
		n += 1 + longBytes(len(p.Filter))
	}
	return n
}

func appendPicks(b []byte, all []bridge.GroupPick) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, p := range all {
		b = appendLong(append(b, byte(p.At)), p.Filter)
	}
	return b
}

func readPicks(c *cursor) (all []bridge.GroupPick) {
	for n := c.number(); n > 0 && !c.bad; n-- {
		all = append(all, bridge.GroupPick{At: bridge.Slot(c.byte()), Filter: string(c.long())})
	}
	return all
}
