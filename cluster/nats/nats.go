// Package nats carries frames between gateways over core NATS. The servers are the user's.
//
// In the space S, the gateway of slot N publishes its frames on wt.S.m.N, which all others
// hear, answers requests on wt.S.r.N, and hands sessions over on wt.S.s.N. Each frame is published once, whether others are
// there or not. While no server can be reached, frames wait in the node.
package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	client "github.com/nats-io/nats.go"
	"github.com/sirupsen/logrus"

	"watchtower/bridge"
	"watchtower/bridge/outbound"
	"watchtower/cluster"
	"watchtower/config"
)

// Options of a Transport: its settings, and the objects that it uses.
type Options struct {
	config.Cluster
	config.Limits

	Gateway string // its name, as the servers show it
}

const (
	reconnectWait = 100 * time.Millisecond
	pingInterval  = time.Second // a server that is frozen is left after two pings
	pingsMost     = 2
	pendingBytes  = 64 << 20 // of others' frames that the library holds
	frameRoom     = 1 << 10  // bytes of a frame besides one message
)

// Transport is a cluster.Transport.
type Transport struct {
	opts Options
	log  *logrus.Logger
	conn *client.Conn
	base string
	crew *outbound.Crew

	subject string                       // of this gateway's frames
	node    atomic.Pointer[cluster.Node] // has the frames; nil: there is none yet

	dialed  atomic.Pointer[link]            // the newest connection
	carrier atomic.Pointer[outbound.Writer] // writes frames; nil: no server can be reached
	most    atomic.Int64                    // bytes of a frame that servers take

	once sync.Map // what was logged already

	mu    sync.Mutex  // taken where ended is set, and while a question gets a goroutine
	ended atomic.Bool // by the gateway itself
}

// Connect prepares the connection. It does not wait for a server: while none can be reached,
// Publish fails. An error is one of the settings.
func Connect(opts Options, log *logrus.Logger) (*Transport, error) {
	t := &Transport{opts: opts, log: log, base: "wt." + opts.Space, crew: outbound.NewCrew()}
	options := []client.Option{
		client.Name("watchtower " + opts.Gateway), client.NoEcho(), client.RetryOnFailedConnect(true), client.MaxReconnects(-1),
		client.ReconnectWait(reconnectWait), client.ReconnectJitter(reconnectWait, reconnectWait), client.ReconnectBufSize(-1),
		client.SetCustomDialer(t), client.PingInterval(pingInterval), client.MaxPingsOutstanding(pingsMost),
		client.ConnectHandler(t.connected), client.ReconnectHandler(t.connected), client.DisconnectErrHandler(t.disconnected), client.ErrorHandler(t.failed),
	}
	if opts.Credentials != "" {
		options = append(options, client.UserCredentials(opts.Credentials))
	}
	if opts.TLSCA != "" {
		options = append(options, client.RootCAs(opts.TLSCA))
	}
	if opts.TLSCertificate != "" {
		options = append(options, client.ClientCert(opts.TLSCertificate, opts.TLSKey))
	}
	conn, err := client.Connect(opts.URL, options...)
	if err != nil {
		return nil, fmt.Errorf("cluster.url: %w", err)
	}
	t.conn = conn
	if !conn.IsConnected() {
		log.WithField("setting", "cluster.url").Warn("no NATS server can be reached: the gateway serves alone, and tries on")
	}
	return t, nil
}

// Serve hands the node of a slot what others send, until ctx ends. The connection stays open.
func (t *Transport) Serve(ctx context.Context, slot bridge.Slot, node *cluster.Node) error {
	frames, err := t.conn.Subscribe(t.base+".m.*", func(m *client.Msg) { node.Take(m.Data) })
	if err == nil {
		err = frames.SetPendingLimits(-1, pendingBytes)
	}
	if err == nil {
		_, err = t.conn.Subscribe(t.answers(slot), func(m *client.Msg) { t.respond(m, node.Answer(m.Data)) })
	}
	var asked sync.WaitGroup
	defer asked.Wait()
	t.subject = fmt.Sprintf("%s.m.%d", t.base, slot)
	t.node.Store(node)
	t.Wake(nil)
	if err == nil {
		_, err = t.conn.Subscribe(t.questions(slot), t.each(&asked, node.AnswerBus))
	}
	if err == nil {
		err = node.Serve(ctx)
	}
	if !t.conn.IsConnected() || t.conn.FlushTimeout(time.Second) != nil {
		t.log.Debug("the goodbye may not have reached the other gateways")
	}
	if frames != nil {
		_ = frames.Unsubscribe() // the connection may be gone
	}
	return err
}

// Healthy returns why nothing can be sent to other gateways now, or nil.
func (t *Transport) Healthy() error {
	if t.conn.IsConnected() {
		return nil
	}
	return errUnconnected
}

// Server is the NATS server that the gateway is connected to, without a password. Empty: none.
func (t *Transport) Server() string {
	if !t.conn.IsConnected() {
		return ""
	}
	return t.conn.ConnectedUrlRedacted()
}

// Close ends the connection.
func (t *Transport) Close() {
	t.mu.Lock()
	t.ended.Store(true)
	t.mu.Unlock()
	w := t.carrier.Load()
	t.conn.Close()
	end(w)
	if l := t.dialed.Load(); l != nil {
		end(l.writer)
	}
	t.crew.Wait()
}

func (t *Transport) answers(slot bridge.Slot) string { return fmt.Sprintf("%s.r.%d", t.base, slot) }

func (t *Transport) questions(slot bridge.Slot) string { return fmt.Sprintf("%s.s.%d", t.base, slot) }

// questionsMost bounds how many questions are answered at a time. Others are not answered: who
// asked asks again.
const questionsMost = 256

// each answers each question in a goroutine of its own.
func (t *Transport) each(running *sync.WaitGroup, answer func([]byte) []byte) client.MsgHandler {
	room := make(chan struct{}, questionsMost)
	return func(m *client.Msg) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.ended.Load() {
			return
		}
		select {
		case room <- struct{}{}:
			running.Go(func() {
				t.respond(m, answer(m.Data))
				<-room
			})
		default:
			t.respond(m, nil)
		}
	}
}

// Request is cluster.Transport's.
func (t *Transport) Request(ctx context.Context, to bridge.Slot, request []byte, patience time.Duration) ([]byte, error) {
	return t.request(ctx, t.answers(to), request, patience)
}

// Ask is cluster.Transport's.
func (t *Transport) Ask(ctx context.Context, to bridge.Slot, question []byte, patience time.Duration) ([]byte, error) {
	return t.request(ctx, t.questions(to), question, patience)
}

func (t *Transport) request(ctx context.Context, subject string, request []byte, patience time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	m, err := t.conn.RequestWithContext(ctx, subject, request)
	if err != nil {
		return nil, err
	}
	return m.Data, nil
}

func (t *Transport) respond(m *client.Msg, answer []byte) {
	if err := m.Respond(answer); errors.Is(err, client.ErrMaxPayload) {
		_ = m.Respond(nil) // it is not to be had
	}
}

func (t *Transport) connected(c *client.Conn) {
	event := t.log.WithField("server", c.ConnectedUrlRedacted())
	event.Info("connected to NATS")
	t.carry(c)
	if most := c.MaxPayload(); int64(t.opts.MessageBytes)+frameRoom > most {
		event.WithField("max_payload", most).WithField("limits.message_bytes", t.opts.MessageBytes).Warn("messages that are larger than the NATS servers take do not reach the other gateways: raise max_payload, or lower limits.message_bytes")
	}
}

func (t *Transport) disconnected(_ *client.Conn, err error) {
	t.carrier.Store(nil)
	if t.ended.Load() {
		return
	}
	t.log.WithError(err).Warn("no connection to NATS: the gateway serves alone, and tries on")
}

// failed logs what the servers refuse, each once. That a connection is lost, disconnected tells.
func (t *Transport) failed(_ *client.Conn, sub *client.Subscription, err error) {
	var network *net.OpError
	if errors.As(err, &network) {
		return
	}
	what := err.Error()
	if sub != nil {
		what += " (" + sub.Subject + ")"
	}
	t.logOnce(what, "NATS: "+what)
}

func (t *Transport) logOnce(key, text string) {
	if _, logged := t.once.LoadOrStore(key, true); !logged {
		t.log.Error(text)
	}
}
