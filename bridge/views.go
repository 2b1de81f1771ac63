package bridge

// The hub's methods are what every protocol does. What some do stands in parts of it.
type (
	// Directory is what there is to see: channels, members, queues.
	Directory struct{ hub *Hub }
	// Registry is what an operator sees of senders, and does to them.
	Registry struct{ hub *Hub }
	// Tokens are what the web shows in place of a key.
	Tokens struct{ hub *Hub }
	// Holds are who is connected: a hold keeps a sender while somebody has it.
	Holds struct{ hub *Hub }
	// Kept are memberships of receivers who are not connected, which outlive a restart.
	Kept struct{ hub *Hub }
	// Users are those of the configuration, and what they vouch for.
	Users struct{ hub *Hub }
)

// Directory returns it.
func (h *Hub) Directory() Directory { return Directory{h} }

// Registry returns it.
func (h *Hub) Registry() Registry { return Registry{h} }

// Tokens returns them.
func (h *Hub) Tokens() Tokens { return Tokens{h} }

// Holds returns them.
func (h *Hub) Holds() Holds { return Holds{h} }

// Kept returns them.
func (h *Hub) Kept() Kept { return Kept{h} }

// Users returns them.
func (h *Hub) Users() Users { return Users{h} }
