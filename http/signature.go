package http

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	nethttp "net/http"
	"strconv"
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

// secret is what a callback's receiver checks signatures with.
func (s signer) secret(sender bridge.SenderID, url string) []byte {
	mac := hmac.New(sha256.New, s.key)
	_ = binary.Write(mac, binary.BigEndian, uint32(sender)) // a hash takes everything
	mac.Write([]byte(url))
	return mac.Sum(nil)
}

// shown is the secret as Standard Webhooks writes it.
func (s signer) shown(sender bridge.SenderID, url string) string {
	return "whsec_" + base64.StdEncoding.EncodeToString(s.secret(sender, url))
}

// sign adds the headers of one attempt at a delivery. The id is the same in
// every attempt.
func (s signer) sign(h nethttp.Header, d delivery, now time.Time) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, s.secret(d.to.key.sender.ID(), d.to.key.url))
	mac.Write([]byte(d.id + "." + timestamp + "."))
	mac.Write(d.body)
	h.Set(webhookID, d.id)
	h.Set(webhookTimestamp, timestamp)
	h.Set(webhookSignature, "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// webhookIDOf names a message for one channel: a call has one id for all.
func webhookIDOf(m *bridge.Message) string {
	return m.ID.String() + "-" + strconv.FormatUint(uint64(m.Channel), 10)
}
