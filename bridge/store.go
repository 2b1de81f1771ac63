package bridge

import "errors"

// Record is what is remembered of a sender over a restart.
type Record struct {
	ID         SenderID         `json:"id"`
	Name       string           `json:"name,omitempty"`
	Registered bool             `json:"web,omitempty"`       // it was given a token
	Held       bool             `json:"held,omitempty"`      // its name was held on the wire or over MQTT
	Protected  bool             `json:"protected,omitempty"` // its name is registered again only with its token
	Approved   bool             `json:"approved,omitempty"`  // an operator protected it, not whoever registered it
	Remote     bool             `json:"remote,omitempty"`    // it is a client of a foreign broker
	Own        bool             `json:"own,omitempty"`       // its name was held by a key of its own
	Token      []byte           `json:"token,omitempty"`     // SHA-256 of its token
	Voucher    string           `json:"voucher,omitempty"`   // what vouched for it: "key N" by generation, "user NAME", "own key"; empty: the first key
	Seen       int64            `json:"seen"`                // Unix seconds
	Kept       []KeptMembership `json:"callbacks,omitempty"`
}

// KeptMembership is a membership of a receiver that is not connected.
type KeptMembership struct {
	Channel Channel `json:"channel"`
	Address string  `json:"url"`
	NoEcho  bool    `json:"no_echo,omitempty"`
}

// ErrNotShared is why a Store that gateways share has not saved a new name.
var ErrNotShared = errors.New("the directory that the gateways share has not taken it")

// storeFault is the answer to a change that was not saved.
func storeFault(what string, err error) error {
	if errors.Is(err, ErrNotShared) {
		return fault(NotShared, "", "%s could not be shared with the other gateways: their directory cannot take a new name now; try again soon. Names that are known go on", what)
	}
	return fault(StoreFailed, "", "%s could not be written to disk: the gateway's log says why", what)
}

// Store keeps records. Save and Delete return at once. The function that they return
// waits until the change is on disk; it need not be called.
type Store interface {
	Load() ([]Record, error)
	Save(Record) (wait func() error)
	Delete(SenderID) (wait func() error)
}
