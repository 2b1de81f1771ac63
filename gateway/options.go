package gateway

import (
	"time"

	"watchtower/bridge"
	"watchtower/http"
	"watchtower/mqtt"
	"watchtower/tcp"
	"watchtower/udp"
)

// The queue of a protocol as a whole, in messages, and how long a publisher
// that may wait does so while it is full.
const (
	linkQueue    = 4096
	linkPatience = 5 * time.Second
)

// listedFor is how long a channel that everybody has left stays in the list
// after its last message: as long as messages are of interest.
const listedFor = time.Hour

func (g *Gateway) hubOptions() bridge.Options {
	return bridge.Options{
		SecretKey:     g.secrets.key,
		BasicKey:      g.cfg.Wire.BasicKey,
		RequireToken:  g.cfg.Auth.RequireToken,
		MessageBytes:  g.cfg.Limits.MessageBytes,
		JoinedMax:     g.cfg.Limits.SenderChannels,
		Linger:        g.cfg.HTTP.Linger,
		ExpireNamed:   g.cfg.Senders.ExpireAfter,
		ExpireUnnamed: g.cfg.Senders.ExpireUnnamedAfter,
		ListedFor:     listedFor,
		Tree:          bridge.NewTree(g.cfg.MQTT.BaseTopic, g.name),
		Store:         g.store,
		Log:           g.log,
	}
}

func (g *Gateway) mqttOptions() mqtt.Options {
	o := mqtt.DefaultOptions()
	o.Listen = g.cfg.MQTT.Listen
	o.Reserved = append(o.Reserved, "watchtower-"+g.name)
	o.MaxPacketBytes = g.cfg.MQTT.MaxPacketBytes
	o.ConnectTimeout = g.cfg.MQTT.ConnectTimeout
	o.WriteTimeout = g.cfg.MQTT.WriteTimeout
	o.QueueMessages = g.cfg.MQTT.SessionQueue
	o.SessionExpiry = g.cfg.MQTT.SessionExpiry
	o.MaxConnections = g.cfg.Limits.MQTTConnections
	return o
}

func (g *Gateway) udpOptions() udp.Options {
	return udp.Options{
		Listen:      g.cfg.UDP.Listen,
		Queue:       linkQueue,
		Patience:    linkPatience,
		Basic:       g.cfg.Wire.Basic,
		Gateway:     g.id,
		TCPPort:     func() uint16 { return g.tcpPort },
		IdleTimeout: g.cfg.Wire.IdleTimeout,
	}
}

func (g *Gateway) tcpOptions() tcp.Options {
	return tcp.Options{
		Listen:         g.cfg.TCP.Listen,
		Queue:          linkQueue,
		Patience:       linkPatience,
		Basic:          g.cfg.Wire.Basic,
		Gateway:        g.id,
		QueueFrames:    g.cfg.TCP.Queue,
		WriteTimeout:   g.cfg.TCP.WriteTimeout,
		FrameTimeout:   g.cfg.Wire.FrameTimeout,
		MaxConnections: g.cfg.Limits.TCPConnections,
	}
}

func (g *Gateway) httpOptions() http.Options {
	o := http.DefaultOptions()
	o.Listen = g.cfg.HTTP.Listen
	o.Queue, o.Patience = linkQueue, linkPatience
	o.Heartbeat = g.cfg.HTTP.Heartbeat
	o.StreamQueue = g.cfg.HTTP.StreamQueue
	o.ReadTimeout, o.WriteTimeout = g.cfg.HTTP.ReadTimeout, g.cfg.HTTP.WriteTimeout
	o.DrainTimeout = g.cfg.ShutdownTimeout / 2
	for _, p := range g.cfg.HTTP.TrustedProxies {
		o.TrustedProxies = append(o.TrustedProxies, p.String())
	}
	o.Callbacks.Allow, o.Callbacks.PublicOnly = g.cfg.Callbacks.Allow, g.cfg.Callbacks.PublicOnly
	o.Callbacks.Timeout = g.cfg.Callbacks.Timeout
	o.Callbacks.Retries, o.Callbacks.RetryGap = g.cfg.Callbacks.Retries, g.cfg.Callbacks.RetryGap
	o.Callbacks.Queue = g.cfg.Callbacks.Queue
	o.Callbacks.Own = g.own
	return o
}
