package gateway

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"

	"golang.org/x/crypto/pbkdf2"

	"watchtower/bridge/store"
)

// keyRounds is the number of PBKDF2 rounds for the secret key's hash on disk. They take
// some milliseconds on a small machine. So the hash does not reveal a weak key at once.
const keyRounds = 10_000

// keyRecord is what the disk holds about the secret key. It shows whether the key was
// changed.
type keyRecord struct {
	Generation uint64 `json:"generation"`
	Salt       []byte `json:"salt"`
	Hash       []byte `json:"hash"` // PBKDF2-HMAC-SHA256 of the key
}

// settle finds the key of the ids and the generation of the secret key, which is one more
// than at the last start if the key has changed. Both are on disk when it returns: a crash
// cannot bring back what an older key vouched for.
func (s *secrets) settle(kept *store.Store) error {
	var err error
	if s.idKey, err = kept.Meta("id_key", randomKey); err != nil {
		return err
	}
	document := kept.Document("secret_key")
	b, err := document.Load()
	if err != nil {
		return err
	}
	var r keyRecord
	if b != nil {
		if err := json.Unmarshal(b, &r); err != nil {
			return fmt.Errorf("what is kept of the secret key is damaged: %w. Put back a backup (watchtower restore FILE)", err)
		}
		if subtle.ConstantTimeCompare(hashKey(s.key, r.Salt), r.Hash) == 1 {
			s.generation = r.Generation
			return nil
		}
		r.Generation++
		s.changed = true
	}
	r.Salt = randomKey()
	r.Hash = hashKey(s.key, r.Salt)
	if b, err = json.Marshal(r); err != nil {
		return err
	}
	s.generation = r.Generation
	return document.Save(b)
}

func hashKey(key string, salt []byte) []byte {
	return pbkdf2.Key([]byte(key), salt, keyRounds, sha256.Size, sha256.New)
}
