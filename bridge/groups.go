package bridge

// PeerGroup is a shared subscription at one gateway: how many of its clients are there. Without
// any it is over.
type PeerGroup struct {
	Filter          string // share name included
	Connected, Away int
}

// GroupPick says which gateway hands a message to a client of a shared subscription. A gateway
// that is not named does not.
type GroupPick struct {
	At     Slot
	Filter string
}

// GroupBus is a bus with shared subscriptions, of which other gateways have clients, too. Its
// methods may be called from any goroutine.
type GroupBus interface {
	// LearnGroup takes a group of another gateway that has changed.
	LearnGroup(at Slot, g PeerGroup)
	// ReplaceGroups takes all groups of another gateway; none: it is gone.
	ReplaceGroups(at Slot, all []PeerGroup)
	// Groups returns groups here after a filter, in their order: room of them at most, and some
	// hundred kilobytes. None: there are no more.
	Groups(after string, room int) []PeerGroup
}

// TellGroup tells the other gateways of a group here that has changed.
func (p Peers) TellGroup(g PeerGroup) { p.hub.backplane.TellGroup(g) }

// LearnGroup takes a group of another gateway that has changed.
func (p Peers) LearnGroup(at Slot, g PeerGroup) {
	if bus, ok := p.hub.bus.(GroupBus); ok {
		bus.LearnGroup(at, g)
	}
}

// ReplaceGroups takes all groups of another gateway.
func (p Peers) ReplaceGroups(at Slot, all []PeerGroup) {
	if bus, ok := p.hub.bus.(GroupBus); ok {
		bus.ReplaceGroups(at, all)
	}
}

// Groups returns groups here after a filter.
func (p Peers) Groups(after string, room int) []PeerGroup {
	if bus, ok := p.hub.bus.(GroupBus); ok {
		return bus.Groups(after, room)
	}
	return nil
}
