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
	"watchtower/bridge/outbound"
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
	ingress   proxies // who comes from there was signed in by Home Assistant
	auth      *auth.Gate
	requests  *auth.Limiter[bridge.SenderID] // requests by sender
	streams   *streams
	callbacks *callback.Service
	history   *history.History
	metrics   nethttp.Handler        // for Prometheus
	refused   *prometheus.CounterVec // refused requests, by status
	conns     *connections
	crew      *outbound.Crew
	sockets   sync.WaitGroup // streams and WebSockets, for which net/http does not wait
	gate      *gate
	door      *intake.Door
	notices   notices
	cors      *cors.Cors // nil: pages of other origins are refused

	quiet   context.Context // canceled by Quiesce: ends the waits of GET /messages
	quieten context.CancelFunc

	mu        sync.Mutex
	mailboxes map[*bridge.Sender]*mailbox
	ending    bool // no more mailboxes
}
