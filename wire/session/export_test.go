package session

import "watchtower/wire/frame"

// FixCookies makes this minute's cookies and challenges with a given secret.
func (t *Table) FixCookies(secret frame.Key) {
	t.registrar.rotateLocked(t.opts.Now())
	t.registrar.current.secret = secret
}
