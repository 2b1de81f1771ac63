package session

import "watchtower/wire/frame"

// FixCookies makes the cookies and challenges of this minute those of a secret.
func (t *Table) FixCookies(secret frame.Key) {
	t.registrar.rotateLocked(t.opts.Now())
	t.registrar.current.secret = secret
}
