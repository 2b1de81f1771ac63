package bridge

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"slices"
	"strings"
	"time"
)

// A pass is a short token for web pages. It lets a page hear as a sender, or also speak,
// on some channels and for some time. The gateway stores none. A pass holds all that it
// says, and a MAC over that, over the hash of the sender's own token and over the
// sender's voucher. So it ends with that token, the sender and the secret key, and
// outlives a restart.
//
//	version 1 byte | flags 1 | sender 4 | expiry 8, Unix seconds | channels, uvarints: each the difference to the one before | MAC 16

// PassPrefix is how every pass begins.
const PassPrefix = "wtp_"

// MostPassChannels is how many channels a pass names at most.
const MostPassChannels = 50

const (
	passVersion = 1
	passSpeak   = 1 // a flag
	passSome    = 2 // a flag: it names channels
	passHead    = 14
	passMAC     = 16
)

// Pass is what a pass allows.
type Pass struct {
	Expires  time.Time // in whole seconds
	Speak    bool      // speak too, not only hear
	Channels []Channel // ascending; nil: all
}

// Covers reports whether a pass is for a channel.
func (p Pass) Covers(c Channel) bool {
	_, found := slices.BinarySearch(p.Channels, c)
	return found || p.Channels == nil
}

// passes stands for one sender's passes that are in use. Its context ends with them.
type passes struct {
	life context.Context
	end  context.CancelFunc
}

// IssuePass makes a pass for a sender that has a token of its own. The pass names its
// channels in ascending order, at most MostPassChannels; the caller checks that.
func (t Tokens) IssuePass(s *Sender, p Pass) (string, error) {
	h := t.hub
	h.mu.RLock()
	defer h.mu.RUnlock()
	switch {
	case s.gone:
		return "", fault(InvalidSender, "sender", "%d was deleted: register again", s.id)
	case s.token == [sha256.Size]byte{}:
		return "", fault(NoToken, "sender", "%d has no token of its own, with which a short one would end: give it one first", s.id)
	}
	flags := byte(0)
	if p.Speak {
		flags |= passSpeak
	}
	if p.Channels != nil {
		flags |= passSome
	}
	b := []byte{passVersion, flags}
	b = binary.BigEndian.AppendUint32(b, uint32(s.id))
	b = binary.BigEndian.AppendUint64(b, uint64(p.Expires.Unix()))
	last := Channel(0)
	for _, c := range p.Channels {
		b = binary.AppendUvarint(b, uint64(c-last))
		last = c
	}
	return PassPrefix + base64.RawURLEncoding.EncodeToString(append(b, h.passMACLocked(s, b)...)), nil
}

// passMACLocked returns the MAC of a pass's content, for a sender as it is now.
func (h *Hub) passMACLocked(s *Sender, said []byte) []byte {
	mac := hmac.New(sha256.New, h.opts.PassKey)
	mac.Write(s.token[:]) // of fixed length, like the head of said
	mac.Write(binary.AppendUvarint(nil, uint64(len(said))))
	mac.Write(said)
	mac.Write([]byte(s.voucher))
	return mac.Sum(nil)[:passMAC]
}

// OpenPass returns the sender of a pass, and what the pass allows. The context ends when
// the sender's passes end before their time; it does not end at the expiry.
func (t Tokens) OpenPass(text string) (*Sender, Pass, context.Context, error) {
	h := t.hub
	raw, err := base64.RawURLEncoding.Strict().DecodeString(strings.TrimPrefix(text, PassPrefix))
	if err != nil || len(raw) < passHead+passMAC || raw[0] != passVersion {
		return nil, Pass{}, nil, fault(InvalidToken, "token", "is no short token of this gateway")
	}
	said, proof := raw[:len(raw)-passMAC], raw[len(raw)-passMAC:]
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.senders[SenderID(binary.BigEndian.Uint32(said[2:]))]
	if s == nil || s.token == [sha256.Size]byte{} || !hmac.Equal(proof, h.passMACLocked(s, said)) {
		return nil, Pass{}, nil, fault(InvalidToken, "token", "is no short token of this gateway, or has ended with its sender's own: POST /tokens gives another")
	}
	p := Pass{Speak: said[1]&passSpeak != 0, Expires: time.Unix(int64(binary.BigEndian.Uint64(said[6:])), 0)}
	if said[1]&passSome != 0 {
		p.Channels = []Channel{}
	}
	last := Channel(0)
	for rest := said[passHead:]; len(rest) > 0; { // the gateway wrote it: it is complete
		distance, n := binary.Uvarint(rest)
		last += Channel(distance)
		p.Channels, rest = append(p.Channels, last), rest[max(n, 1):]
	}
	if !h.now().Before(p.Expires) {
		return nil, Pass{}, nil, fault(PassExpired, "token", "expired at %s: POST /tokens gives another", p.Expires.UTC().Format(time.RFC3339))
	}
	if s.passes == nil {
		s.passes = &passes{}
		s.passes.life, s.passes.end = context.WithCancel(context.Background())
	}
	h.Seen(s)
	return s, p, s.passes.life, nil
}

// endPassesLocked ends the context of the sender's passes.
func (s *Sender) endPassesLocked() {
	if s.passes != nil {
		s.passes.end()
		s.passes = nil
	}
}

// LeaveOwn ends a sender's attachments on channels for which mine returns true.
func (h *Hub) LeaveOwn(s *Sender, channels []Channel, mine func(*Attachment) bool) {
	h.mu.Lock()
	var ended []*Attachment
	for _, c := range channels {
		m := s.joined.get(c)
		if m == nil {
			continue
		}
		for _, a := range slices.Clone(m.attachments) {
			if mine(a) {
				h.detachLocked(a)
				ended = append(ended, a)
			}
		}
	}
	h.mu.Unlock()
	endAll(ended)
}
