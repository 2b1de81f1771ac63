package mqtt

import (
	"errors"
	"math"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/rs/xid"

	"watchtower/bridge"
)

// ServeConn serves one client on nc, whatever carries it, and returns when the
// connection has ended and both its goroutines with it.
func (b *Broker) ServeConn(nc net.Conn) {
	c := newConn(b, nc)
	if !b.track(c) {
		_ = nc.Close()
		return
	}
	defer b.untrack(c)
	if err := c.connect(); err != nil {
		b.reads.Done()
		c.drop(err)
		b.log.WithField("remote", c.remote).WithError(err).Debug("MQTT connection refused")
		_ = nc.Close()
		return
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		if err := c.writer.Run(); err != nil {
			b.log.WithField("client", c.clientID).WithError(err).Debug("MQTT client does not take what it is sent")
		}
		_ = nc.Close()
	}()
	err := c.readLoop()
	b.reads.Done()
	c.drop(err)
	if errors.Is(err, errStopping) {
		<-b.ending         // messages still go out until then
		c.willQuiet = true // there is nobody left to tell
	}
	c.finish(err)
	<-written
	b.left(c)
	b.log.WithField("client", c.clientID).WithField("remote", c.remote).WithError(err).Debug("MQTT client left")
}

// connect reads CONNECT, finds out who the client is, and attaches it to its
// session. On an error it has answered what the client may be told.
func (c *conn) connect() (err error) {
	defer func() {
		if r := recover(); r != nil { // in the codec
			err = packets.ErrMalformedPacket
		}
	}()
	if err := c.nc.SetReadDeadline(time.Now().Add(c.broker.opts.ConnectTimeout)); err != nil {
		return err
	}
	if c.broker.quiet.Load() { // it may have set the deadline that this one replaced
		return errStopping
	}
	pk, err := c.readPacket(beforeConnectBytes)
	if err != nil {
		return err
	}
	if pk.FixedHeader.Type != packets.Connect {
		return packets.ErrProtocolViolationRequireFirstConnect // MQTT-3.1.0-1
	}
	c.version = pk.ProtocolVersion
	if bad := validateConnect(pk); bad.Code != 0 {
		return c.refuse(bad)
	}
	assigned := pk.Connect.ClientIdentifier == ""
	if assigned {
		pk.Connect.ClientIdentifier = xid.New().String()
	}
	c.clientID = pk.Connect.ClientIdentifier
	if slices.Contains(c.broker.opts.Reserved, c.clientID) {
		return c.refuse(packets.ErrClientIdentifierNotValid)
	}
	who, bad := c.broker.identify(c, pk.Connect.Password, assigned)
	if bad.Code != 0 {
		return c.refuse(bad)
	}
	if bad := c.takeWill(&pk, who.hold.Sender()); bad.Code != 0 {
		c.broker.hub.Release(who.hold)
		return c.refuse(bad)
	}
	c.limits(&pk)
	c.broker.attach(c, who, &pk, assigned)
	return nil
}

// validateConnect adds to mochi's validation what it lacks, and takes what it
// refuses wrongly: an empty will payload and an empty password are allowed.
func validateConnect(pk packets.Packet) packets.Code {
	name := string(pk.Connect.ProtocolName)
	if name == "MQTT" && pk.ProtocolVersion > version5 || name == "MQTT" && pk.ProtocolVersion < 4 || name == "MQIsdp" && pk.ProtocolVersion != 3 {
		return packets.ErrUnsupportedProtocolVersion
	}
	if pk.Connect.WillFlag && len(pk.Connect.WillPayload) == 0 {
		pk.Connect.WillPayload = []byte{0}
	}
	if pk.Connect.PasswordFlag && len(pk.Connect.Password) == 0 {
		pk.Connect.Password = []byte{0}
	}
	if bad := pk.ConnectValidate(); bad.Code != 0 {
		return bad
	}
	switch {
	case pk.ProtocolVersion < version5 && !pk.Connect.Clean && pk.Connect.ClientIdentifier == "":
		return packets.ErrClientIdentifierNotValid // MQTT-3.1.3-8
	case pk.Properties.AuthenticationMethod != "":
		return packets.ErrBadAuthenticationMethod
	}
	return packets.Code{}
}

// refuse answers CONNECT with an error, written at once: the connection has no
// writer yet.
func (c *conn) refuse(why packets.Code) error {
	ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, ReasonCode: why.Code}
	version := min(c.version, version5) // a version to come understands 5 best
	if version == version5 {
		ack.Properties.ReasonString = why.Reason
	} else {
		ack.ReasonCode = connack3(why)
	}
	if b, err := encodeControl(ack, version, 0); err == nil {
		_ = c.nc.SetWriteDeadline(time.Now().Add(flushTimeout))
		_, _ = c.nc.Write(b)
	}
	return refused{why}
}

// refused is a connection that was answered, and is no malformed packet.
type refused struct{ why packets.Code }

func (r refused) Error() string { return r.why.Reason }

// connack3 is the return code of MQTT 3.1.1 (table 3.1) for a reason of MQTT 5.
func connack3(why packets.Code) byte {
	switch why.Code {
	case packets.ErrUnsupportedProtocolVersion.Code:
		return 1
	case packets.ErrClientIdentifierNotValid.Code:
		return 2
	case packets.ErrServerUnavailable.Code, packets.ErrServerBusy.Code:
		return 3
	case packets.ErrBadUsernameOrPassword.Code:
		return 4
	}
	return 5
}

// limits notes what the client can take.
func (c *conn) limits(pk *packets.Packet) {
	c.keepAlive = time.Duration(pk.Connect.Keepalive) * time.Second
	c.receiveMax = math.MaxUint16
	if c.version == version5 {
		c.maxSize = pk.Properties.MaximumPacketSize
		if pk.Properties.ReceiveMaximum > 0 {
			c.receiveMax = pk.Properties.ReceiveMaximum
		}
	}
}

// identity is who a client turned out to be.
type identity struct {
	hold  *bridge.Hold
	owner *owner
	key   sessionKey
}

// owner ends whatever session a hold came to belong to.
type owner struct {
	mu    sync.Mutex
	ended bool
	end   func()
}

func (o *owner) deleted() {
	o.mu.Lock()
	o.ended = true
	end := o.end
	o.mu.Unlock()
	if end != nil {
		end()
	}
}

// adopt says what ends with the sender; it is called at once if that is over.
func (o *owner) adopt(end func()) {
	o.mu.Lock()
	o.end = end
	ended := o.ended
	o.mu.Unlock()
	if ended {
		end()
	}
}

// identify finds the sender of a client: by its token, or by the secret key and
// its client id (topic tree, "Identity").
func (b *Broker) identify(c *conn, password []byte, assigned bool) (identity, packets.Code) {
	id := identity{owner: &owner{}, key: sessionKey{client: c.clientID}}
	var err error
	if s, ok := b.hub.SenderByToken(string(password)); ok && len(password) > 0 {
		id.hold, err = b.hub.HoldSender(s, id.owner.deleted)
		id.key.sender = s.ID()
	} else if b.hub.CheckKey(string(password)) {
		name := c.clientID
		if assigned || !bridge.ValidName(name) {
			name = ""
		}
		id.hold, err = b.hub.RegisterName(name, id.owner.deleted)
		if err == nil && name != "" {
			id.key.sender = id.hold.Sender().ID()
		}
	} else {
		b.warn("refused "+c.host(), "MQTT client refused: its password is neither the secret key nor a token", c)
		return id, packets.ErrBadUsernameOrPassword
	}
	if err != nil {
		b.warn("refused "+c.clientID, "MQTT client refused: "+err.Error(), c)
		return id, packets.ErrNotAuthorized
	}
	return id, packets.Code{}
}

func (c *conn) host() string {
	host, _, err := net.SplitHostPort(c.remote)
	if err != nil {
		return c.remote
	}
	return host
}

// acknowledge queues CONNACK. Nothing else is on the connection before it.
func (c *conn) acknowledge(present, assigned bool, pk *packets.Packet) {
	ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, SessionPresent: present}
	if c.version == version5 {
		p := &ack.Properties
		p.ReceiveMaximum = receivedMax
		p.TopicAliasMaximum = aliasMax
		p.MaximumPacketSize = uint32(c.broker.opts.MaxPacketBytes) + 5
		if assigned {
			p.AssignedClientID = c.clientID
		}
		if most := uint32(c.broker.opts.SessionExpiry / time.Second); pk.Properties.SessionExpiryInterval > most {
			p.SessionExpiryInterval, p.SessionExpiryIntervalFlag = most, true
		}
	}
	_ = c.answerPacket(ack) // cannot fail: nothing waits yet
}
