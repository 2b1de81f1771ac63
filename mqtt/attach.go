package mqtt

import (
	"bytes"
	"cmp"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/rs/xid"

	"watchtower/bridge"
	"watchtower/intake"
)

// beforeConnectBytes is the largest packet before CONNECT is accepted.
const beforeConnectBytes = 64 << 10

// connect reads CONNECT, identifies the client, and attaches it to its session. It
// answers the client itself on an error.
func (c *conn) connect() (err error) {
	defer c.fault(&err)
	begun, patience := time.Now(), c.broker.opts.ConnectTimeout
	c.hashBefore = begun.Add(patience * 9 / 10) // leaves time to answer
	if err := c.nc.SetReadDeadline(begun.Add(patience)); err != nil {
		return err
	}
	if c.broker.quiet.Load() { // it may have set the deadline that this one replaced
		return errStopping
	}
	loan := c.guest.Lend(intake.From(c.nc.RemoteAddr()))
	defer loan.Close()
	pk, err := c.readPacket(beforeConnectBytes, &loan)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded) && !c.broker.quiet.Load():
		c.broker.limited(c, c.host(), errNoConnect)
		return err
	case errors.Is(err, errTooLarge):
		return packets.ErrPacketTooLarge // whatever is configured
	case err != nil:
		return err
	}
	if pk.FixedHeader.Type != packets.Connect {
		return packets.ErrProtocolViolationRequireFirstConnect // MQTT-3.1.0-1
	}
	if v := pk.ProtocolVersion; v == 3|bridgeBit || v == 4|bridgeBit {
		pk.ProtocolVersion, c.bridge = v&^bridgeBit, true
	}
	c.version = pk.ProtocolVersion
	if bad := validateConnect(pk); bad.Code != 0 {
		return c.turnAway(bad)
	}
	c.from.Name = bridge.Shorten(cmp.Or(pk.Connect.ClientIdentifier, string(pk.Connect.Username)))
	assigned := pk.Connect.ClientIdentifier == ""
	if assigned {
		pk.Connect.ClientIdentifier = xid.New().String()
	}
	c.clientID = pk.Connect.ClientIdentifier
	if c.clientID == inlineClient || slices.Contains(c.broker.opts.Reserved, c.clientID) {
		return c.turnAway(packets.ErrClientIdentifierNotValid)
	}
	who, bad := c.broker.identify(c, string(pk.Connect.Username), pk.Connect.Password, assigned)
	if bad.Code != 0 {
		return c.refuse(bad)
	}
	if bad := c.admit(who, &pk, assigned); bad.Code != 0 {
		c.broker.hub.Holds().Release(who.hold)
		return c.refuse(bad)
	}
	c.know()
	c.broker.stillCounts(c, who)
	return nil
}

// admit attaches a client to its session, if its will and its name are accepted.
func (c *conn) admit(who identity, pk *packets.Packet, assigned bool) packets.Code {
	if bad := c.takeWill(pk, who); bad.Code != 0 {
		return bad
	}
	c.limits(pk)
	if bad := c.remember(who, pk); bad.Code != 0 {
		return bad
	}
	defer c.broker.sessions.turn(who.key)()
	arrived, bad := c.broker.arrive(c, who, pk.Connect.Clean)
	if bad.Code != 0 {
		return bad
	}
	return c.broker.attach(c, who, pk, assigned, arrived)
}

// remember stores the client's name if its session outlives the connection. Other
// clients are stored once they join a channel.
func (c *conn) remember(who identity, pk *packets.Packet) packets.Code {
	if c.broker.expiry(pk) == 0 {
		return packets.Code{}
	}
	wait, err := c.broker.hub.Keep(who.hold, Protocol)
	if err == nil {
		err = wait()
	}
	var refusal *bridge.Error
	switch {
	case err == nil:
		return packets.Code{}
	case errors.As(err, &refusal):
		c.broker.warn(c.host(), "MQTT client refused: "+err.Error(), c)
		return packets.ErrQuotaExceeded
	}
	return packets.ErrServerUnavailable // a disk error, which the store logs
}

// validateConnect adds the checks that mochi lacks. It also allows an empty will payload
// and an empty password, which mochi refuses wrongly.
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
	case len(pk.Properties.AuthenticationData) > 0, // without a method
		!pk.Connect.WillFlag && pk.Connect.WillQos > 0,                                   // MQTT-3.1.2-11
		!utf8.Valid(pk.Connect.Username) || bytes.IndexByte(pk.Connect.Username, 0) >= 0, // MQTT-3.1.3-12
		strings.ContainsAny(pk.Connect.WillProperties.ResponseTopic, "+#"):
		return packets.ErrProtocolViolation
	}
	return packets.Code{}
}

// turnAway logs the refusal, and refuses.
func (c *conn) turnAway(why packets.Code) error {
	c.broker.warn(c.host(), "MQTT client refused: "+why.Reason, c)
	return c.refuse(why)
}

// refuse answers CONNECT with an error. It writes directly: there is no writer yet.
func (c *conn) refuse(why packets.Code) error {
	ack := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connack}, ReasonCode: why.Code}
	version := min(c.version, version5) // a future version probably understands 5
	if version < version5 && (why.Code == packets.ErrMalformedPacket.Code || why.Code == packets.ErrProtocolViolation.Code) {
		return why // 3.1.1 has no answer to it (MQTT-3.1.4-1)
	}
	if version == version5 {
		ack.Properties.ReasonString = why.Reason
	} else {
		ack.ReasonCode = connack3(why)
	}
	if b, err := encodeControl(ack, version, 0); err == nil {
		_ = c.nc.SetWriteDeadline(time.Now().Add(flushTimeout))
		_, _ = c.nc.Write(b)
	}
	return errors.New(why.Reason) // not a packets.Code: that would count as a malformed packet
}

// connack3 returns the MQTT 3.1.1 return code (table 3.1) for an MQTT 5 reason.
func connack3(why packets.Code) byte {
	switch why.Code {
	case packets.ErrUnsupportedProtocolVersion.Code:
		return 1
	case packets.ErrClientIdentifierNotValid.Code:
		return 2
	case packets.ErrServerUnavailable.Code, packets.ErrServerBusy.Code, packets.ErrQuotaExceeded.Code, packets.ErrConnectionRateExceeded.Code:
		return 3
	case packets.ErrBadUsernameOrPassword.Code:
		return 4
	}
	return 5
}

// limits stores the limits that the client announced in CONNECT.
func (c *conn) limits(pk *packets.Packet) {
	c.keepAlive = time.Duration(pk.Connect.Keepalive) * time.Second
	if most := c.broker.opts.MaxKeepAlive; most > 0 && (c.keepAlive == 0 || c.keepAlive > most) {
		c.keepAlive, c.keepAliveSet = most, true
	}
	c.receiveMax = math.MaxUint16
	if c.version == version5 {
		c.maxSize = pk.Properties.MaximumPacketSize
		c.terse = pk.Properties.RequestProblemInfoFlag && pk.Properties.RequestProblemInfo == 0
		if pk.Properties.ReceiveMaximum > 0 {
			c.receiveMax = pk.Properties.ReceiveMaximum
		}
	}
}
