package http

import (
	"context"
	"net"
	nethttp "net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/cors"
	"github.com/sirupsen/logrus"

	"watchtower/auth"
	"watchtower/bridge"
	"watchtower/callback"
	"watchtower/history"
	"watchtower/intake"
)

// Server is the gateway's HTTP side.
type Server struct {
	hub       *bridge.Hub
	opts      Options
	log       *logrus.Logger
	server    *nethttp.Server
	plain     net.Listener // nil: not bound
	secure    net.Listener
	proxies   proxies
	auth      *auth.Gate
	requests  *auth.Limiter[bridge.SenderID] // requests by sender
	streams   *streams
	callbacks *callback.Service
	history   *history.History
	metrics   nethttp.Handler        // for Prometheus
	refused   *prometheus.CounterVec // requests, by status
	conns     *connections
	sockets   sync.WaitGroup // streams and WebSockets, which net/http does not wait for
	gate      *gate
	door      *intake.Door
	notices   notices
	cors      *cors.Cors // nil: no page of another origin may ask

	quiet   context.Context // ends when nobody is to wait for messages any more
	quieten context.CancelFunc

	mu        sync.Mutex
	mailboxes map[*bridge.Sender]*mailbox
	ending    bool // no more mailboxes
}
