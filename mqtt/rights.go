package mqtt

import (
	"bytes"
	"sync/atomic"
)

// Rights are what a configured user may do by another protocol. They follow the access list in
// force.
type Rights struct {
	broker       *Broker
	user, client string
	hash         []byte // of the user's password when it was checked
	now          atomic.Pointer[rightsNow]
}

// rightsNow is what the users in force make of Rights.
type rightsNow struct {
	users  *map[string]User
	may    *access
	stands bool
}

// Rights returns the rights of a user whose password was right. Client stands for %c in the
// user's access list.
func (b *Broker) Rights(user, client string) *Rights {
	known, _ := b.user(user)
	return &Rights{broker: b, user: user, client: client, hash: known.Hash}
}

func (r *Rights) inForce() *rightsNow {
	users := r.broker.users.Load()
	if now := r.now.Load(); now != nil && now.users == users {
		return now
	}
	user, known := (*users)[r.user]
	now := &rightsNow{users, newAccess(user.Rules, r.user, r.client), known && bytes.Equal(user.Hash, r.hash)}
	r.now.Store(now)
	return now
}

// MayRead and MayWrite report whether the user may read or write a topic. MayFollow reports
// whether it may read some topic of a filter.
func (r *Rights) MayRead(topic string) bool {
	now := r.inForce()
	return now.stands && now.may.mayRead(topic)
}

func (r *Rights) MayWrite(topic string) bool {
	now := r.inForce()
	return now.stands && now.may.mayWrite(topic)
}

func (r *Rights) MayFollow(filter string) bool {
	now := r.inForce()
	return now.stands && now.may.maySubscribe(filter)
}

// Stands reports whether the user is still there, with the same password.
func (r *Rights) Stands() bool { return r.inForce().stands }
