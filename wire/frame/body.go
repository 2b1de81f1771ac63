package frame

import "watchtower/wire"

// Registration is the body of an r.
type Registration struct {
	Version     byte
	Options     Options
	KeepAlive   uint16 // seconds
	MaxDatagram uint16 // bytes
	Pace        byte   // least milliseconds between two datagrams to the device
	CNonce      [8]byte
	Cookie      [8]byte
	Name        []byte
}

// Options of a registration.
type Options byte

// The options. Bits 4 to 7 are how many deliveries may be outstanding.
const (
	Acknowledge Options = 1 << 0 // deliveries are acknowledged
	NoEcho      Options = 1 << 1 // the device does not hear itself
	Hidden      Options = 1 << 2 // bodies are hidden
	OwnKey      Options = 1 << 3 // the r is tagged with the key of its name
)

// Window is how many deliveries may be outstanding.
func (o Options) Window() int { return max(1, int(o>>4)) }

// WithWindow returns the options with that many deliveries outstanding, 15 at most.
func (o Options) WithWindow(n int) Options { return o&15 | Options(min(n, 15))<<4 }

const registrationFixed = 24

// ParseRegistration reads the body of an r. Version is set even after an error, if the
// body is not empty.
func ParseRegistration(b []byte) (r Registration, err error) {
	if len(b) > 0 {
		r.Version = b[0]
	}
	if len(b) < registrationFixed || len(b) != registrationFixed+int(b[23]) {
		return r, ErrBody
	}
	r.Options, r.KeepAlive, r.MaxDatagram, r.Pace = Options(b[1]), le.Uint16(b[2:]), le.Uint16(b[4:]), b[6]
	r.CNonce, r.Cookie, r.Name = [8]byte(b[7:]), [8]byte(b[15:]), b[24:]
	return r, nil
}

// AppendRegister appends an r.
func AppendRegister(b []byte, r Registration, k Key) []byte {
	begin := len(b)
	b = append(Begin(b, Register, 0, 0, 0), r.Version, byte(r.Options))
	b = le.AppendUint16(b, r.KeepAlive)
	b = append(le.AppendUint16(b, r.MaxDatagram), r.Pace)
	b = append(b, r.CNonce[:]...)
	b = append(b, r.Cookie[:]...)
	b = append(b, byte(len(r.Name)))
	return Seal(append(b, r.Name...), begin, k)
}

// AppendCookie appends a c.
func AppendCookie(b []byte, cnonce, cookie [8]byte, k Key) []byte {
	begin := len(b)
	b = append(Begin(b, Cookie, 0, 0, 0), cnonce[:]...)
	return Seal(append(b, cookie[:]...), begin, k)
}

// ParseCookie reads the body of a c.
func ParseCookie(b []byte) (cnonce, cookie [8]byte, err error) {
	if len(b) != 16 {
		return cnonce, cookie, ErrBody
	}
	return [8]byte(b), [8]byte(b[8:]), nil
}

// Registered is the result of an r.
type Registered struct {
	CNonce      [8]byte
	KeepAlive   uint16 // seconds
	MaxDatagram uint16 // bytes
}

// AppendRegistered appends the a to an r.
func AppendRegistered(b []byte, id uint32, r Registered, k Key) []byte {
	begin := len(b)
	b = append(Begin(b, Answer, 0, id, 0), byte(Register))
	b = append(b, r.CNonce[:]...)
	b = le.AppendUint16(b, r.KeepAlive)
	return Seal(le.AppendUint16(b, r.MaxDatagram), begin, k)
}

// ParseRegistered reads the body of the a to an r.
func ParseRegistered(b []byte) (r Registered, err error) {
	if len(b) != 13 || Op(b[0]) != Register {
		return r, ErrBody
	}
	return Registered{CNonce: [8]byte(b[1:]), KeepAlive: le.Uint16(b[9:]), MaxDatagram: le.Uint16(b[11:])}, nil
}

// ParseIDs reads the body of a j or an x.
func ParseIDs(b []byte) (wire.IDs, error) {
	if len(b)%4 != 0 {
		return nil, ErrBody
	}
	return wire.IDs(b), nil
}

// cutIDs takes a count of one byte and that many ids off b.
func cutIDs(b []byte) (ids wire.IDs, rest []byte, err error) {
	if len(b) < 1 || len(b) < 1+4*int(b[0]) {
		return nil, nil, ErrBody
	}
	n := 1 + 4*int(b[0])
	return wire.IDs(b[1:n]), b[n:], nil
}

// ParseBroadcast reads the body of a b.
func ParseBroadcast(b []byte) (channels wire.IDs, data []byte, err error) { return cutIDs(b) }

// ParseSend reads the body of an s.
func ParseSend(b []byte) (channels, receivers wire.IDs, data []byte, err error) {
	if channels, b, err = cutIDs(b); err == nil {
		receivers, data, err = cutIDs(b)
	}
	return channels, receivers, data, err
}

// ParseStart reads the body of an l.
func ParseStart(b []byte) (start uint32, err error) {
	if len(b) != 4 {
		return 0, ErrBody
	}
	return le.Uint32(b), nil
}

// ParseMembers reads the body of a u.
func ParseMembers(b []byte) (channel, start uint32, err error) {
	if len(b) != 8 {
		return 0, 0, ErrBody
	}
	return le.Uint32(b), le.Uint32(b[4:]), nil
}

// ParsePing reads the body of a p.
func ParsePing(b []byte) (challenge uint64, challenged bool, err error) {
	switch len(b) {
	case 0:
		return 0, false, nil
	case 8:
		return le.Uint64(b), true, nil
	}
	return 0, false, ErrBody
}

// ParseChallenge reads the body of a q.
func ParseChallenge(b []byte) (uint64, error) {
	c, ok, err := ParsePing(b)
	if err == nil && !ok {
		err = ErrBody
	}
	return c, err
}

// ParseBye reads the body of a d.
func ParseBye(b []byte) (seconds uint16, err error) {
	if len(b) != 2 {
		return 0, ErrBody
	}
	return le.Uint16(b), nil
}

// ParseAnswer reads the body of an a, or of an e that has one.
func ParseAnswer(b []byte) (op Op, result []byte, err error) {
	if len(b) < 1 {
		return 0, nil, ErrBody
	}
	return Op(b[0]), b[1:], nil
}

// ParseList reads the result of an l or a u.
func ParseList(b []byte) (more bool, ids wire.IDs, err error) {
	if len(b) < 1 || len(b)%4 != 1 || b[0] > 1 {
		return false, nil, ErrBody
	}
	return b[0] == 1, wire.IDs(b[1:]), nil
}

// ParseDelivery reads the body of an m.
func ParseDelivery(b []byte) (wire.Delivery, error) {
	if len(b) < DeliveryFixed {
		return wire.Delivery{}, ErrBody
	}
	return wire.Delivery{Sender: le.Uint32(b), Channel: le.Uint32(b[4:]), Type: le.Uint16(b[8:]), Data: b[DeliveryFixed:]}, nil
}
