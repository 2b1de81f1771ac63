package session

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"net/netip"
	"sync"
	"time"

	"watchtower/bridge"
	"watchtower/wire/frame"
)

// Registrar answers registrations until a device has shown that it is at its address.
// Until then it stores nothing: the cookie that the device repeats is made from its
// address and a secret (docs/protocol.md, "Registration"). Its methods may be called from
// any goroutine.
type Registrar struct {
	hub  *bridge.Hub
	via  bridge.Protocol
	keys Keys
	door Door

	mu                sync.Mutex
	begun             time.Time // when current began
	current, previous *minute
}

// minute is the secret of one minute, with the registrations that its cookies made.
type minute struct {
	secret frame.Key
	served map[served]*core // nil: being written to disk
}

// served is a registration that was answered. Devices with keys of their own may use the
// same cnonce.
type served struct {
	cnonce, cookie [8]byte
	psk            frame.Key
}

// NewRegistrar returns a registrar for one protocol. A nil keys is that of an open
// gateway. A nil door is open to everybody.
func NewRegistrar(hub *bridge.Hub, via bridge.Protocol, keys Keys, door Door) *Registrar {
	if keys == nil {
		keys = SharedKey(func() frame.Key { return frame.DeviceKey("") })
	}
	if door == nil {
		door = openDoor{}
	}
	return &Registrar{hub: hub, via: via, keys: keys, door: door, current: newMinute(), previous: newMinute()}
}

func newMinute() *minute {
	m := &minute{served: map[served]*core{}}
	_, _ = rand.Read(m.secret[:]) // never fails: it ends the program instead
	return m
}

// rotateLocked replaces the secrets whose time is over.
func (r *Registrar) rotateLocked(now time.Time) {
	if r.begun.IsZero() {
		r.begun = now
	}
	for age := now.Sub(r.begun); age >= time.Minute; age -= time.Minute {
		r.previous, r.current = r.current, newMinute()
		if age >= 3*time.Minute { // both would be too old
			age = 2 * time.Minute
			r.begun = now.Add(-age)
		}
		r.begun = r.begun.Add(time.Minute)
	}
}

// A hash begins with what the secret is used for, so that a challenge is never a cookie.
const (
	forCookie    = 1
	forChallenge = 2
)

func sum(secret frame.Key, use byte, at netip.AddrPort, what []byte) uint64 {
	var b [1 + 16 + 2 + 16]byte
	addr := at.Addr().As16()
	b[0] = use
	copy(b[1:], addr[:])
	binary.LittleEndian.PutUint16(b[17:], at.Port())
	return secret.Sum(b[:19+copy(b[19:], what)])
}

func (m *minute) cookie(at netip.AddrPort, cnonce [8]byte) (c [8]byte) {
	binary.LittleEndian.PutUint64(c[:], sum(m.secret, forCookie, at, cnonce[:]))
	return c
}

// challenge is what a device at an address has to repeat to move its session
// there.
func (r *Registrar) challenge(now time.Time, at netip.AddrPort, key frame.Key) [8]byte {
	current, _ := r.challenges(now, at, key)
	return current
}

// challengeIs reports whether a device repeats the challenge for its address.
func (r *Registrar) challengeIs(c []byte, now time.Time, at netip.AddrPort, key frame.Key) bool {
	current, previous := r.challenges(now, at, key)
	return subtle.ConstantTimeCompare(c, current[:])|subtle.ConstantTimeCompare(c, previous[:]) == 1
}

func (r *Registrar) challenges(now time.Time, at netip.AddrPort, key frame.Key) (current, previous [8]byte) {
	r.mu.Lock()
	r.rotateLocked(now)
	c, p := r.current.secret, r.previous.secret
	r.mu.Unlock()
	binary.LittleEndian.PutUint64(current[:], sum(c, forChallenge, at, key[:]))
	binary.LittleEndian.PutUint64(previous[:], sum(p, forChallenge, at, key[:]))
	return current, previous
}

// opened is a registration whose cookie is right.
type opened struct {
	frame.Registration
	from    netip.Addr
	psk     frame.Key
	by      bridge.Proof // what psk is
	seq     uint32
	minute  *minute
	served  served
	earlier *core // not nil: it repeats the registration that made this session
}

// open checks an r. It returns nil if it has appended the answer itself, or has dropped
// the frame. Live says that the address, or the connection, has a session.
func (r *Registrar) open(now time.Time, from netip.AddrPort, live bool, f frame.Frame, raw, reply []byte) (*opened, []byte) {
	reg, err := frame.ParseRegistration(f.Body) // the key depends on it
	if !live && !r.admit(now, from, reg) {
		return nil, reply // an e would tell whether its key is right
	}
	psk, by, ok := r.proof(reg, raw)
	if !ok {
		r.drop(bridge.Forged)
		r.door.WrongTag(from.Addr(), reg.Name)
		return nil, reply
	}
	if code := r.check(f, reg, by, err); code != frame.OK {
		return nil, frame.AppendRefusal(reply, f, code, psk)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rotateLocked(now)
	m := r.madeLocked(from, reg)
	if m == nil {
		return nil, frame.AppendCookie(reply, reg.CNonce, r.current.cookie(from, reg.CNonce), psk)
	}
	o := &opened{Registration: reg, from: from.Addr(), psk: psk, by: by, seq: f.Seq, minute: m, served: served{reg.CNonce, reg.Cookie, psk}}
	earlier, again := m.served[o.served]
	if again && earlier == nil {
		r.drop(Duplicate) // its answer is on its way
		return nil, reply
	}
	o.earlier = earlier
	if !again {
		m.served[o.served] = nil
	}
	return o, reply
}

// admit asks the door whether to check an r.
func (r *Registrar) admit(now time.Time, from netip.AddrPort, reg frame.Registration) bool {
	cookie := r.door.WantsCookie(from.Addr()) && r.cookieIs(now, from, reg)
	return r.door.AdmitTag(from.Addr(), cookie)
}

// cookieIs reports whether an r carries a cookie that was made for its address.
func (r *Registrar) cookieIs(now time.Time, from netip.AddrPort, reg frame.Registration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rotateLocked(now)
	return r.madeLocked(from, reg) != nil
}

// madeLocked returns the minute whose secret made a cookie, or nil.
func (r *Registrar) madeLocked(from netip.AddrPort, reg frame.Registration) *minute {
	for _, m := range [...]*minute{r.current, r.previous} {
		c := m.cookie(from, reg.CNonce)
		if subtle.ConstantTimeCompare(c[:], reg.Cookie[:]) == 1 {
			return m
		}
	}
	return nil
}

// done notes which session a cookie made. For a refused registration c is nil, and the
// cookie stays valid.
func (r *Registrar) done(o *opened, c *core) {
	if c != nil {
		r.door.Proved(o.from)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if c == nil {
		delete(o.minute.served, o.served)
		return
	}
	o.minute.served[o.served] = c
}

// hold gives the device its sender: a new one, or that of the name. If wait is not nil,
// the caller calls it before it answers. After an error the caller closes the device.
func (r *Registrar) hold(o *opened, d *bridge.Device, end func()) (wait func() error, err error) {
	if len(o.Name) == 0 {
		d.Register(o.by, end)
		return nil, nil
	}
	wait, err = d.RegisterName(string(o.Name), o.by, end)
	if err == nil && o.by.Own() && !r.counts(o) {
		err = errRevoked // meanwhile: whoever revoked the key may not have seen this hold
	}
	return wait, err
}

// refuse refuses a registration. Its cookie stays valid.
func (r *Registrar) refuse(o *opened, code frame.Code, reply []byte) []byte {
	r.done(o, nil)
	return frame.AppendError(reply, 0, o.seq, frame.Register, code, o.psk)
}

func (r *Registrar) drop(why bridge.Reason) { r.hub.Counters().Drop(r.via, why, 1) }
