package mqtt

import (
	"strconv"

	"watchtower/bridge"
)

// Among gateways that share their channels, a session is at one of them: at the one to which its
// client came last. That one claims the session.

func (k sessionKey) claim() bridge.ClaimKey {
	return bridge.NewClaimKey("session", strconv.FormatUint(uint64(k.sender), 10), k.user, k.client)
}

// claim makes this gateway the one that has a session: with a time of 0, because its client has
// just come. The caller holds mu.
func (ss *sessions) claim(s *session, at uint64, as bridge.Standing) {
	if !ss.peers.Alone() {
		c := bridge.Claim{Key: s.key.claim(), At: at, Standing: as, Via: Protocol}
		s.claimed = ss.peers.Claim(c, func(by bridge.Claim) { ss.lost(s, by) }).At
	}
}

// stand tells the others whether a session's client is there. The caller holds mu.
func (ss *sessions) stand(s *session, as bridge.Standing) {
	if !ss.peers.Alone() {
		ss.peers.Stand(s.key.claim(), as)
	}
}

// unclaim tells the others that this gateway has a session no more.
func (ss *sessions) unclaim(key sessionKey) {
	if !ss.peers.Alone() {
		ss.peers.Unclaim(key.claim())
	}
}

// home is the other gateway that has a key's session; 0: none has.
func (ss *sessions) home(key sessionKey) bridge.Slot {
	if ss.peers.Alone() {
		return 0
	}
	if at, _, claimed := ss.peers.Claimed(key.claim()); claimed {
		return at
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if g := ss.given[key]; g != nil { // it will soon claim it
		return g.to
	}
	return 0
}

// has reports whether a key's session is here.
func (ss *sessions) has(key sessionKey) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.all[key] != nil
}

// nameless reports whether a client id has a session whose sender has no name, here or at another
// gateway.
func (ss *sessions) nameless(client, user string) bool {
	key := sessionKey{client: client, user: user}
	return ss.has(key) || ss.home(key) != 0
}
