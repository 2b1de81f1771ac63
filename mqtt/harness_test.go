package mqtt_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"watchtower/bridge"
	"watchtower/config"
	"watchtower/internal/harness"
	"watchtower/mqtt"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const key = "correct horse"

// house is a hub on an embedded broker that listens on loopback.
type house struct {
	t      testing.TB
	hub    *bridge.Hub
	broker *mqtt.Broker
	addr   string
	logs   *logtest.Hook
	stop   func()
}

func build(t testing.TB, change func(*mqtt.Options)) *house {
	t.Helper()
	return buildWith(t, nil, change)
}

// buildWith is build with a store for the hub's senders.
func buildWith(t testing.TB, senders bridge.Store, change func(*mqtt.Options)) *house {
	t.Helper()
	log, logs := logtest.NewNullLogger()
	hub, err := bridge.New(bridge.Options{
		SecretKey: key, Limits: config.Default().Limits, Linger: time.Second, Store: senders,
		Senders: config.Default().Senders, ListedFor: time.Hour,
		Tree: bridge.NewTree("watchtower", "gw"), Log: log,
	})
	require.NoError(t, err)
	settings := config.Default()
	opts := mqtt.Options{MQTT: settings.MQTT, Limits: settings.Limits}
	opts.Listen, opts.WriteTimeout = "127.0.0.1:0", time.Minute // a busy machine's client is not slow
	if change != nil {
		change(&opts)
	}
	if os.Getenv("WITHOUT_LOOPS") != "" { // make test-long
		opts.WithoutLoops()
	}
	broker, err := mqtt.New(hub, opts, log)
	require.NoError(t, err)
	hub.SetBus(broker)
	require.NoError(t, broker.Listen())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() { _ = broker.Serve(ctx); done <- struct{}{} }()
	go func() { hub.Run(ctx); done <- struct{}{} }()
	stopped := false
	h := &house{t: t, hub: hub, broker: broker, addr: broker.Addr().String(), logs: logs}
	h.stop = func() {
		if !stopped {
			stopped = true
			cancel()
			<-done
			<-done
		}
	}
	t.Cleanup(h.stop)
	return h
}

// web registers a sender as HTTP does.
func (h *house) web(name string) *bridge.Sender {
	reg, err := h.hub.Register(bridge.Registration{Name: name})
	require.NoError(h.t, err)
	s, ok := h.hub.Tokens().Sender(reg.Token)
	require.True(h.t, ok)
	return s
}

// logged returns the log's lines at info and above that have a text in them.
func (h *house) logged(text string) (found []*logrus.Entry) {
	for _, e := range h.logs.AllEntries() {
		if strings.Contains(e.Message, text) {
			found = append(found, e)
		}
	}
	return found
}

func (h *house) dropped(r bridge.Reason) int {
	return int(h.hub.Counters().Dropped(mqtt.Protocol, r))
}

// client speaks MQTT byte by byte.
type client struct {
	t       testing.TB
	nc      net.Conn
	r       *bufio.Reader
	version byte
	lastID  uint16
	early   []packets.Packet
}

type connect struct {
	id       string
	version  byte // 0: 4
	password string
	dirty    bool // clean session or clean start off
	props    packets.Properties
	will     *packets.ConnectParams
	keep     uint16
}

// dial connects, and returns CONNACK.
func (h *house) dial(o connect) (*client, packets.Packet) {
	h.t.Helper()
	if o.version == 0 {
		o.version = 4
	}
	if o.password == "" {
		o.password = key
	}
	nc, err := net.Dial("tcp", h.addr)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { nc.Close() })
	c := &client{t: h.t, nc: nc, r: bufio.NewReader(nc), version: o.version}
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect}, Properties: o.props}
	if o.will != nil {
		pk.Connect = *o.will
		pk.Connect.WillFlag = true
	}
	pk.Connect.ProtocolName = []byte("MQTT")
	if o.version == 3 {
		pk.Connect.ProtocolName = []byte("MQIsdp")
	}
	pk.Connect.ClientIdentifier, pk.Connect.Clean, pk.Connect.Keepalive = o.id, !o.dirty, o.keep
	pk.Connect.UsernameFlag, pk.Connect.Username = true, []byte("anybody")
	pk.Connect.PasswordFlag, pk.Connect.Password = true, []byte(o.password)
	c.send(pk)
	return c, c.read(packets.Connack)
}

// plain opens a connection and sends nothing.
func (h *house) plain() (*client, net.Conn) {
	h.t.Helper()
	nc, err := net.Dial("tcp", h.addr)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { nc.Close() })
	return &client{t: h.t, nc: nc, r: bufio.NewReader(nc), version: 5}, nc
}

// join connects a client that has to be accepted.
func (h *house) join(o connect) *client {
	h.t.Helper()
	c, ack := h.dial(o)
	require.Zero(h.t, ack.ReasonCode, "CONNACK")
	return c
}

func (c *client) send(pk packets.Packet) {
	c.t.Helper()
	pk.ProtocolVersion = c.version
	pk.Mods.AllowResponseInfo = true
	var buf bytes.Buffer
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&buf)
	case packets.Publish:
		err = pk.PublishEncode(&buf)
	case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		err = pk.PubackEncode(&buf)
	case packets.Subscribe:
		err = pk.SubscribeEncode(&buf)
	case packets.Unsubscribe:
		err = pk.UnsubscribeEncode(&buf)
	case packets.Pingreq:
		err = pk.PingreqEncode(&buf)
	case packets.Disconnect:
		err = pk.DisconnectEncode(&buf)
	default:
		c.t.Fatalf("cannot send packet type %d", pk.FixedHeader.Type)
	}
	require.NoError(c.t, err)
	c.raw(buf.Bytes())
}

func (c *client) raw(b []byte) {
	c.t.Helper()
	_, err := c.nc.Write(b)
	require.NoError(c.t, err)
}

// next reads one packet, or fails after a while.
func (c *client) next() (packets.Packet, error) {
	var pk packets.Packet
	_ = c.nc.SetReadDeadline(time.Now().Add(harness.Patience))
	first, err := c.r.ReadByte()
	if err != nil {
		return pk, err
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		return pk, err
	}
	n, _, err := packets.DecodeLength(c.r)
	if err != nil {
		return pk, err
	}
	pk.FixedHeader.Remaining, pk.ProtocolVersion = n, c.version
	body := make([]byte, n)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return pk, err
	}
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Puback, packets.Pubrec, packets.Pubrel, packets.Pubcomp:
		err = pk.PubackDecode(body)
	case packets.Suback:
		err = pk.SubackDecode(body)
	case packets.Unsuback:
		err = pk.UnsubackDecode(body)
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	case packets.Pingresp:
	default:
		err = fmt.Errorf("packet type %d from a broker", pk.FixedHeader.Type)
	}
	return pk, err
}

// read reads a packet of a kind. Messages that overtook an answer are kept.
func (c *client) read(kind byte) packets.Packet {
	c.t.Helper()
	if kind == packets.Publish && len(c.early) > 0 {
		pk := c.early[0]
		c.early = c.early[1:]
		return pk
	}
	pk, err := c.next()
	require.NoError(c.t, err)
	for kind != packets.Publish && pk.FixedHeader.Type == packets.Publish {
		c.early = append(c.early, pk)
		pk, err = c.next()
		require.NoError(c.t, err)
	}
	require.Equal(c.t, packets.PacketNames[kind], packets.PacketNames[pk.FixedHeader.Type])
	return pk
}

// ended reads until the connection ends, and returns the DISCONNECT before it.
func (c *client) ended() (reason byte) {
	c.t.Helper()
	for {
		pk, err := c.next()
		if err != nil {
			require.NotErrorIs(c.t, err, os.ErrDeadlineExceeded, "the connection did not end")
			return reason
		}
		if pk.FixedHeader.Type == packets.Disconnect {
			reason = pk.ReasonCode
		}
	}
}

func (c *client) id() uint16 { c.lastID++; return c.lastID }

// subscribe returns the codes of SUBACK.
func (c *client) subscribe(qos byte, filters ...string) []byte {
	c.t.Helper()
	var subs packets.Subscriptions
	for _, f := range filters {
		subs = append(subs, packets.Subscription{Filter: f, Qos: qos})
	}
	return c.subscribeTo(packets.Properties{}, subs...)
}

func (c *client) subscribeTo(props packets.Properties, subs ...packets.Subscription) []byte {
	c.t.Helper()
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe, Qos: 1}, PacketID: c.id(), Filters: subs, Properties: props})
	return c.read(packets.Suback).ReasonCodes
}

func (c *client) unsubscribe(filters ...string) []byte {
	c.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe, Qos: 1}, PacketID: c.id()}
	for _, f := range filters {
		pk.Filters = append(pk.Filters, packets.Subscription{Filter: f})
	}
	c.send(pk)
	return c.read(packets.Unsuback).ReasonCodes
}

// publish publishes, and returns the reason code of the acknowledgement.
func (c *client) publish(qos byte, topic, payload string) byte {
	c.t.Helper()
	return c.publishPacket(packets.Packet{FixedHeader: packets.FixedHeader{Qos: qos}, TopicName: topic, Payload: []byte(payload)})
}

func (c *client) publishPacket(pk packets.Packet) byte {
	c.t.Helper()
	pk.FixedHeader.Type = packets.Publish
	if pk.FixedHeader.Qos > 0 {
		pk.PacketID = c.id()
	}
	c.send(pk)
	switch pk.FixedHeader.Qos {
	case 1:
		return c.read(packets.Puback).ReasonCode
	case 2:
		rec := c.read(packets.Pubrec)
		if rec.ReasonCode >= 0x80 {
			return rec.ReasonCode
		}
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrel, Qos: 1}, PacketID: rec.PacketID})
		return c.read(packets.Pubcomp).ReasonCode
	}
	return 0
}

func (c *client) ack(id uint16) {
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Puback}, PacketID: id})
}

// ping makes sure that everything sent before was executed.
func (c *client) ping() {
	c.t.Helper()
	c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	c.read(packets.Pingresp)
}

// message reads a PUBLISH, and acknowledges it.
func (c *client) message() packets.Packet {
	c.t.Helper()
	pk := c.read(packets.Publish)
	if pk.FixedHeader.Qos > 0 {
		c.ack(pk.PacketID)
	}
	return pk
}

// messages returns the topics of every PUBLISH that was sent.
func (c *client) messages() (topics []string) {
	c.t.Helper()
	for range 2 { // an answer may overtake messages, but not those before the last answer
		c.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
		for {
			pk, err := c.next()
			require.NoError(c.t, err)
			if pk.FixedHeader.Type == packets.Pingresp {
				break
			}
			c.early = append(c.early, pk)
		}
	}
	for _, pk := range c.early {
		if pk.FixedHeader.Qos > 0 {
			c.ack(pk.PacketID)
		}
		topics = append(topics, pk.TopicName)
	}
	c.early = nil
	return topics
}

func user(p packets.Properties, key string) (vals []string) {
	for _, u := range p.User {
		if u.Key == key {
			vals = append(vals, u.Val)
		}
	}
	return vals
}
