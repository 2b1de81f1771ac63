package callback

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
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

// signer derives the secret of each callback from one key: secrets need not be stored, and
// survive a restart.
type signer struct{ key []byte }

// newSigner uses the given key, or a random one if that is empty.
func newSigner(key []byte) signer {
	if len(key) == 0 {
		key = make([]byte, sha256.Size)
		_, _ = rand.Read(key) // never fails: it ends the program instead
	}
	return signer{key}
}

// secret returns a callback's secret after so many rotations.
func (s signer) secret(key endpointKey, rotations uint32) []byte {
	mac := hmac.New(sha256.New, s.key)
	_ = binary.Write(mac, binary.BigEndian, uint32(key.sender.ID())) // a hash never fails
	mac.Write([]byte(key.url))
	if rotations > 0 { // unambiguous, since no URL has a zero byte
		_ = binary.Write(mac, binary.BigEndian, uint64(rotations))
	}
	return mac.Sum(nil)
}

// handle stands for a callback where its URL must not be seen. It is no secret of it.
func (s signer) handle(key endpointKey) []byte {
	mac := hmac.New(sha256.New, s.key)
	_ = binary.Write(mac, binary.BigEndian, uint32(key.sender.ID()))
	mac.Write([]byte("\x00" + key.url)) // no URL begins with a zero byte
	return mac.Sum(nil)
}

// shown is the text form of a secret in Standard Webhooks.
func shown(secret []byte) string { return "whsec_" + base64.StdEncoding.EncodeToString(secret) }

// sign adds the headers of one attempt, with a signature for each secret.
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

// webhookIDOf adds the channel, and the receiver of a send, to a message's id: one call has
// one id for all of them, and several may have the same URL.
func webhookIDOf(m *bridge.Message) string {
	id := m.ID.String() + "-" + strconv.FormatUint(uint64(m.Channel), 10)
	if m.Type == bridge.Send {
		id += "-" + strconv.FormatUint(uint64(m.Receiver), 10)
	}
	return id
}

// handleBytes is how much of a handle is in a key.
const handleBytes = 8

// keyOf stands for a callback over restarts, and at all gateways of a space.
func (s signer) keyOf(key endpointKey) string {
	return strconv.FormatUint(uint64(key.sender.ID()), 10) + "-" + hex.EncodeToString(s.handle(key)[:handleBytes])
}
