package bridge

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
)

// Sender returns the sender that a token belongs to.
func (t Tokens) Sender(token string) (*Sender, bool) {
	h := t.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	s, ok := h.tokens[hashToken(token)]
	return s, ok
}

// Authorize returns the sender that a request may act for. The id alone is enough if the
// sender was registered over HTTP, is not protected, its name was never held on the wire
// or over MQTT, and the gateway does not require tokens. Otherwise the token is needed.
func (t Tokens) Authorize(id SenderID, token string) (*Sender, error) {
	h := t.hub
	h.mu.RLock()
	s := h.senders[id]
	byToken := token != "" && h.tokens[hashToken(token)] == s && s != nil
	open := s != nil && s.web && !s.held && !s.protected && !h.opts.RequireToken
	h.mu.RUnlock()
	switch {
	case byToken, open && token == "":
		h.Seen(s)
		return s, nil
	case s == nil:
		return nil, fault(InvalidSender, "sender", "%d is unknown: POST /register gives an id", id)
	case token != "":
		return nil, fault(InvalidToken, "Authorization", "is not the token of sender %d (a newer registration of its name replaces it)", id)
	}
	return nil, fault(InvalidToken, "sender", "%d needs its token: Authorization: Bearer …, as POST /register returned it", id)
}

func newToken() string {
	var b [24]byte
	_, _ = rand.Read(b[:])
	return TokenPrefix + base64.RawURLEncoding.EncodeToString(b[:])
}

func hashToken(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

func (h *Hub) setTokenLocked(s *Sender, hash [sha256.Size]byte) {
	delete(h.tokens, s.token)
	s.endPassesLocked()
	s.token = hash
	h.tokens[hash] = s
}
