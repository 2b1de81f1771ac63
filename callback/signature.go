package callback

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	nethttp "net/http"
	"strconv"
	"strings"
	"time"

	"watchtower/bridge"
)

// The headers of Standard Webhooks 1.0.0.
const (
	webhookID        = "webhook-id"
	webhookTimestamp = "webhook-timestamp"
	webhookSignature = "webhook-signature"
)

// signer makes a secret for each callback of each sender, from one key: so none
// has to be stored, and all survive a restart.
type signer struct{ key []byte }

// newSigner uses the key that is given, or one that lasts as long as the program.
func newSigner(key []byte) signer {
	if len(key) == 0 {
		key = make([]byte, sha256.Size)
		_, _ = rand.Read(key) // never fails: it ends the program instead
	}
	return signer{key}
}

// secret is what a callback's receiver checks signatures with, after so many
// rotations.
func (s signer) secret(key endpointKey, rotations uint32) []byte {
	mac := hmac.New(sha256.New, s.key)
	_ = binary.Write(mac, binary.BigEndian, uint32(key.sender.ID())) // a hash takes everything
	mac.Write([]byte(key.url))
	if rotations > 0 { // no URL has a zero byte
		_ = binary.Write(mac, binary.BigEndian, uint64(rotations))
	}
	return mac.Sum(nil)
}

// shown is a secret as Standard Webhooks writes it.
func shown(secret []byte) string { return "whsec_" + base64.StdEncoding.EncodeToString(secret) }

// sign adds the headers of one attempt at a delivery, with a signature for each
// secret. The id is the same in every attempt.
func sign(h nethttp.Header, d *delivery, secrets [][]byte, now time.Time) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	var signatures []string
	for _, secret := range secrets {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(d.id + "." + timestamp + "."))
		mac.Write(d.body)
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	}
	h.Set(webhookID, d.id)
	h.Set(webhookTimestamp, timestamp)
	if len(signatures) > 0 {
		h.Set(webhookSignature, strings.Join(signatures, " "))
	}
}

// mostEarlier is how many secrets sign besides the one in force and the last.
const mostEarlier = 8

// earlier are the Unix times of the rotations before the last, the newest first; 0:
// there was none. An array, so that states can be compared.
type earlier [mostEarlier]int64

// rotate takes a new secret into force. It reports false if too many would sign.
func (s *endpointState) rotate(now time.Time, overlap time.Duration) bool {
	if oldest := s.Earlier[mostEarlier-1]; oldest != 0 && now.Sub(time.Unix(oldest, 0)) < overlap {
		return false
	}
	copy(s.Earlier[1:], s.Earlier[:])
	s.Earlier[0] = 0
	if !s.Rotated.IsZero() {
		s.Earlier[0] = s.Rotated.Unix() + 1 // never too early
	}
	s.Secret++
	s.Rotated = now.Round(0)
	return true
}

// secretsLocked are those to sign with: the one in force, and for a while each that
// was before it. Of what is no callback nobody was told one.
func (c *Service) secretsLocked(e *endpoint) [][]byte {
	if !e.listed {
		return nil
	}
	all := [][]byte{c.signer.secret(e.key, e.state.Secret)}
	n, now := e.state.Secret, c.now()
	if n > 0 && now.Sub(e.state.Rotated) < c.opts.RotationOverlap {
		all = append(all, c.signer.secret(e.key, n-1))
	}
	for i, at := range e.state.Earlier {
		if at != 0 && n > uint32(i)+1 && now.Sub(time.Unix(at, 0)) < c.opts.RotationOverlap {
			all = append(all, c.signer.secret(e.key, n-2-uint32(i)))
		}
	}
	return all
}

// webhookIDOf names a message for one channel, and of a send for one receiver: a
// call has one id for all, and several may have the same URL.
func webhookIDOf(m *bridge.Message) string {
	id := m.ID.String() + "-" + strconv.FormatUint(uint64(m.Channel), 10)
	if m.Type == bridge.Send {
		id += "-" + strconv.FormatUint(uint64(m.Receiver), 10)
	}
	return id
}
