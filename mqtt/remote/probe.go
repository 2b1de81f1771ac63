package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/config"
)

// ErrUntrusted says that the broker lets its clients speak as others.
var ErrUntrusted = errors.New("the broker lets a client speak as another, so mqtt.remote.trust cannot be acl. Give it the access rules that `watchtower check remote` prints, or set mqtt.remote.trust: none; then its clients are heard only under ids that were registered for them")

// The address of a probe: nobody has this channel or these ids.
const (
	probeChannel = "4294967295"
	probeSender  = "4294967295"
)

// examine finds out, before a connection, whether the broker lets the gateway do its work, whether
// another gateway of the same name is there, and whether the broker lets a device speak as another. Pause is how long to wait then.
func (b *Bus) examine(ctx context.Context, suspect bool) (pause time.Duration, err error) {
	if err := b.mayAll(ctx); err != nil {
		return 0, err
	}
	first := b.isFirst()
	if suspect || first {
		if pause, err = b.suspect(ctx, b.client, suspect); err != nil {
			return 0, err
		}
	}
	if b.opts.Remote.Trust == "acl" {
		f, err := probe(ctx, b.opts.MQTT, b.client.login, b.client.known())
		switch {
		case err != nil:
			return 0, err
		case f.Forges && first:
			return 0, ErrUntrusted
		case f.Forges:
			b.log.Error("the foreign broker lets a client speak as another now: its clients are not heard until it does not")
		}
		b.heard.Store(!f.Forges)
	} else {
		b.heard.Store(true)
	}
	if first {
		close(b.examined)
	}
	return pause, nil
}

// isFirst reports whether the broker was not examined yet.
func (b *Bus) isFirst() bool {
	select {
	case <-b.examined:
		return false
	default:
		return true
	}
}

// afterwards is examine of the second connection: it waits for that of the first one.
func (b *Bus) afterwards(ctx context.Context, suspect bool) (pause time.Duration, err error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-b.examined:
	}
	if suspect {
		return b.suspect(ctx, b.control, true)
	}
	return 0, nil
}

// suspect looks for another gateway of the same name. Taken says that a client's id was taken by
// another one again and again.
func (b *Bus) suspect(ctx context.Context, c *client, taken bool) (pause time.Duration, err error) {
	later, err := b.rival(ctx)
	if err != nil || !taken || later {
		return 0, err
	}
	b.log.WithField("client_id", c.login.client).Error("another client at the foreign broker has the gateway's client id, and is no gateway: the gateway tries on, once a minute")
	return fightPause, nil
}

// Findings are what a broker does and enforces.
type Findings struct {
	MQTT    string `json:"mqtt"`                  // the version that it speaks with the gateway
	Forges  bool   `json:"device_forges"`         // a device may speak as another, or as Home Assistant
	Refuses bool   `json:"tells_what_it_refuses"` // a device that may not: PUBACK 0x87
	Reads   bool   `json:"device_reads"`          // a device may read what is for another
	Limit   uint16 `json:"receive_maximum"`       // how many unacknowledged messages it takes; 0: any
}

// probe connects as the gateway and as a device, and tries what a device should not be able to.
func probe(ctx context.Context, opts config.MQTT, own login, known byte) (f Findings, err error) {
	own.client, own.clean, own.will = "watchtower-probe-"+rand.Text()[:8], true, nil
	device := own
	device.client = "watchtower-probe-" + rand.Text()[:8]
	device.user, device.password = opts.Remote.Probe.User, opts.Remote.Probe.Password
	gateway, err := dial(ctx, own, known)
	if err != nil {
		return f, err
	}
	defer func() { _ = gateway.Close() }()
	other, err := dial(ctx, device, known)
	if err != nil {
		return f, &probeRefused{device.user, err}
	}
	defer func() { _ = other.Close() }()
	defer gateway.until(ctx)()
	defer other.until(ctx)()
	f.MQTT, f.Limit = versionName(gateway.version), gateway.ack.Properties.ReceiveMaximum
	channel := opts.BaseTopic + "/channels/" + probeChannel
	broadcast, send := channel+"/broadcast/"+probeSender, channel+"/send/"+probeSender+"/1"
	if code, err := gateway.ask(broadcast); err != nil || code >= 0x80 {
		return f, errors.Join(err, fmt.Errorf("the broker does not let the gateway (%q) read %s: see its access rules", own.user, broadcast))
	}
	if _, err := other.ask(send); err != nil {
		return f, err
	}
	word := rand.Text()
	// In another's name, in Home Assistant's, and a join of another's.
	forged := []string{channel + "/send/1/" + probeSender, channel + "/broadcast", channel + "/send/1", opts.BaseTopic + "/joins/" + probeSender, broadcast}
	for _, filter := range forged[:4] {
		if _, err := gateway.ask(filter); err != nil {
			return f, err
		}
	}
	f.Refuses = true
	for _, topic := range forged {
		code, err := other.say(topic, "forged "+word)
		if err != nil {
			return f, err
		}
		f.Refuses = f.Refuses && code == packets.ErrNotAuthorized.Code
	}
	if code, err := gateway.say(broadcast, "own "+word); err != nil || code >= 0x80 {
		return f, errors.Join(err, fmt.Errorf("the broker does not let the gateway (%q) write %s: see its access rules", own.user, broadcast))
	}
	if _, err = gateway.say(send, "own "+word); err != nil {
		return f, err
	}
	f.Forges, err = gateway.hears("forged "+word, "own "+word)
	if err == nil {
		f.Reads, err = other.hears("own "+word, "")
	}
	return f, err
}

// probeRefused says that a device's login is not let in.
type probeRefused struct {
	user string
	why  error
}

func (p *probeRefused) Error() string {
	why := strings.ReplaceAll(p.why.Error(), "mqtt.remote.user and mqtt.remote.password", "mqtt.remote.probe.user and mqtt.remote.probe.password")
	return fmt.Sprintf("mqtt.remote.probe: as %s: %s", p.user, why)
}

func (p *probeRefused) Unwrap() error { return p.why }

// until has the connection end with ctx. The result is called when it is used no more.
func (c *conn) until(ctx context.Context) (stop func()) {
	cancel := context.AfterFunc(ctx, func() { _ = c.Close() })
	return func() { cancel() }
}

// ask subscribes to a filter, and returns the answer's code.
func (c *conn) ask(filter string) (code byte, err error) { return c.askFor(filter, 1, false) }

// askFor is ask with a QoS; with noLocal the connection's own messages are not wanted. A broker may send
// nothing more at QoS 1 until the first message is acknowledged (HiveMQ CE), which a probe does not do.
func (c *conn) askFor(filter string, qos byte, noLocal bool) (code byte, err error) {
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, ProtocolVersion: c.version, PacketID: 1}
	pk.Filters = packets.Subscriptions{{Filter: filter, Qos: qos, NoLocal: noLocal}}
	if err := write(c, &pk); err != nil {
		return 0, err
	}
	answer, err := c.next(packets.Suback)
	if err != nil || len(answer.ReasonCodes) == 0 {
		return 0x80, err
	}
	return answer.ReasonCodes[0], nil
}

// say publishes at QoS 1, and returns the acknowledgement's code.
func (c *conn) say(topic, payload string) (code byte, err error) {
	return c.put(publish{topic: []byte(topic), payload: []byte(payload), qos: 1})
}

// retain is say of a message that the broker keeps; an empty one is kept no more.
func (c *conn) retain(topic, payload string) (code byte, err error) {
	return c.put(publish{topic: []byte(topic), payload: []byte(payload), qos: 1, retain: true})
}

func (c *conn) put(p publish) (code byte, err error) {
	b, idAt := p.encode(nil, c.version)
	b[idAt+1] = 2
	if _, err := c.Write(b); err != nil {
		return 0, err
	}
	answer, err := c.next(packets.Puback)
	return answer.ReasonCode, err
}

// quietFor is how long a probe waits for what should not come.
const quietFor = 500 * time.Millisecond

// hears reports whether a message comes, before another one or before it was quiet for a time.
func (c *conn) hears(payload, before string) (bool, error) {
	for _, m := range c.kept {
		switch string(m.Payload) {
		case payload:
			return true, nil
		case before:
			return false, nil
		}
	}
	patience := quietFor
	if before != "" {
		patience = dialTimeout
	}
	until := time.Now().Add(patience)
	for {
		m, err := c.message(until)
		switch {
		case isTimeout(err) && before == "":
			return false, nil
		case err != nil:
			return false, err
		case m == payload:
			return true, nil
		case m == before:
			return false, nil
		}
	}
}

// message returns the next message, if one comes until a time.
func (c *conn) message(until time.Time) (payload string, err error) {
	_ = c.SetReadDeadline(until)
	for {
		pk, err := read(c.r, c.version, c.limit)
		switch {
		case err != nil:
			return "", fmt.Errorf("the probe: %w", err)
		case pk.FixedHeader.Type == packets.Publish:
			return string(pk.Payload), nil
		}
	}
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout()
}

// next returns the next packet of a type. Messages before it are kept.
func (c *conn) next(kind byte) (packets.Packet, error) {
	_ = c.SetReadDeadline(time.Now().Add(dialTimeout))
	for {
		pk, err := read(c.r, c.version, c.limit)
		switch {
		case err != nil:
			return pk, fmt.Errorf("the probe: %w", err)
		case pk.FixedHeader.Type == kind:
			return pk, nil
		case pk.FixedHeader.Type == packets.Publish:
			c.kept = append(c.kept, pk)
		}
	}
}
