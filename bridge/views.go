package bridge

// Methods of Hub are for every protocol. These views have what only some need.
type (
	// Directory has what there is to see: channels, members, queues.
	Directory struct{ hub *Hub }
	// Registry has what an operator sees of senders, and does to them.
	Registry struct{ hub *Hub }
	// Tokens are what web clients show in place of a key.
	Tokens struct{ hub *Hub }
	// Holds are the clients that are connected: a hold keeps a sender alive.
	Holds struct{ hub *Hub }
	// Kept are the memberships, over restarts too, of receivers that are not connected.
	Kept struct{ hub *Hub }
	// Users are the configured users, and what they vouch for.
	Users struct{ hub *Hub }
	// Peers are the other gateways that share this one's channels.
	Peers struct{ hub *Hub }
)

// Directory returns the hub's Directory.
func (h *Hub) Directory() Directory { return Directory{h} }

// Registry returns the hub's Registry.
func (h *Hub) Registry() Registry { return Registry{h} }

// Tokens returns the hub's Tokens.
func (h *Hub) Tokens() Tokens { return Tokens{h} }

// Holds returns the hub's Holds.
func (h *Hub) Holds() Holds { return Holds{h} }

// Kept returns the hub's Kept.
func (h *Hub) Kept() Kept { return Kept{h} }

// Peers returns the hub's Peers.
func (h *Hub) Peers() Peers { return Peers{h} }

// Users returns the hub's Users.
func (h *Hub) Users() Users { return Users{h} }
