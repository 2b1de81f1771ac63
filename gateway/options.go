package gateway

import (
	"crypto/tls"
	"errors"
	"maps"
	"slices"
	"time"

	"watchtower/bridge"
	"watchtower/callback"
	"watchtower/config"
	"watchtower/history"
	"watchtower/homeassistant"
	"watchtower/http"
	"watchtower/intake"
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

// listedFor is how long a channel that everybody has left stays in the list after
// its last message: as long as it has a history.
func listedFor(h config.History) time.Duration {
	if h.Messages == 0 {
		return 0
	}
	return h.Age
}

// intakeOptions are the bounds on strangers and on what is not complete.
func (g *Gateway) intakeOptions() intake.Options {
	return intake.Options{
		Limits: g.cfg.Limits, Largest: max(g.cfg.MQTT.MaxPacketBytes, http.LargestBody(g.cfg.Limits.MessageBytes)),
		Counters: g.hub.Counters(), Log: g.log,
	}
}

func (g *Gateway) hubOptions() bridge.Options {
	return bridge.Options{
		Limits:     g.cfg.Limits,
		Senders:    g.cfg.Senders,
		Auth:       g.cfg.Auth,
		SecretKey:  g.secrets.key,
		Generation: g.secrets.generation,
		Users:      slices.Collect(maps.Keys(g.cfg.Users)),
		IDKey:      g.secrets.idKey,
		PassKey:    g.passKey,
		Linger:     g.cfg.HTTP.Linger,
		ListedFor:  listedFor(g.cfg.History),
		Tree:       bridge.NewTree(g.cfg.MQTT.BaseTopic, g.name),
		Store:      g.store,
		Log:        g.log,
	}
}

func (g *Gateway) mqttOptions(secure *tls.Config) mqtt.Options {
	// Its own discovery: nobody else is to take the house's view of it over.
	discovery := g.cfg.HomeAssistant.DiscoveryPrefix + "/device/" + homeassistant.GatewayID(g.name)
	return mqtt.Options{
		MQTT: g.cfg.MQTT, Limits: g.cfg.Limits, TLS: secure, Users: brokerUsers(g.cfg.Users),
		Reserved: []string{"watchtower-" + g.name}, OwnTopics: []string{discovery + "/", discovery + "_"},
		Intake: g.intake, Gate: g.gate, Passwords: g.passwords, Store: g.state,
	}
}

func (g *Gateway) homeAssistantOptions() homeassistant.Options {
	return homeassistant.Options{
		HomeAssistant: g.cfg.HomeAssistant, Limits: g.cfg.Limits, Pace: g.pace,
		Channels: houseNames(g.cfg), Version: Version,
	}
}

// houseNames are the names of the channels that Home Assistant is told of.
func houseNames(cfg config.Config) map[bridge.Channel]string {
	names := map[bridge.Channel]string{}
	for n, c := range cfg.Channels {
		if c.HomeAssistant && cfg.HomeAssistant.Enabled {
			names[bridge.Channel(n)] = c.Name
		}
	}
	return names
}

// brokerUsers are the configuration's users, as the broker has them.
func brokerUsers(configured map[string]config.User) map[string]mqtt.User {
	users := map[string]mqtt.User{}
	for name, u := range configured {
		user := mqtt.User{Hash: []byte(u.PasswordHash)}
		if u.ACL != nil {
			user.Rules = []mqtt.Rule{} // none is nothing, not everything
		}
		for _, r := range u.ACL {
			user.Rules = append(user.Rules, mqtt.Rule{
				Read: r.Access == "read" || r.Access == "readwrite", Write: r.Access == "write" || r.Access == "readwrite",
				Pattern: r.Topic,
			})
		}
		users[name] = user
	}
	return users
}

func (g *Gateway) udpOptions() udp.Options {
	return udp.Options{
		UDP: g.cfg.UDP, Wire: g.cfg.Wire, Limits: g.cfg.Limits, LinkQueue: linkQueue, Patience: linkPatience,
		Gateway: g.id, TCPPort: func() uint16 { return g.tcpPort }, Key: g.deviceKey, Gate: g.gate,
	}
}

func (g *Gateway) tcpOptions() tcp.Options {
	return tcp.Options{
		TCP: g.cfg.TCP, Wire: g.cfg.Wire, Limits: g.cfg.Limits, LinkQueue: linkQueue, Patience: linkPatience,
		Gateway: g.id, Key: g.deviceKey, Gate: g.gate, Intake: g.intake,
	}
}

func (g *Gateway) historyOptions() history.Options {
	return history.Options{
		Messages: g.cfg.History.Messages,
		Age:      g.cfg.History.Age,
		Bytes:    g.cfg.History.Bytes,
		Store:    g.store.Document("history"),
		Queue:    linkQueue,
		Patience: linkPatience,
	}
}

func (g *Gateway) callbackOptions() callback.Options {
	o := callback.DefaultOptions()
	o.Allow, o.PublicOnly = g.cfg.Callbacks.Allow, g.cfg.Callbacks.PublicOnly
	o.Timeout = g.cfg.Callbacks.Timeout
	o.Retries, o.RetryGap = g.cfg.Callbacks.Retries, g.cfg.Callbacks.RetryGap
	o.Queue = g.cfg.Callbacks.Queue
	o.MaxGap, o.Kept = g.cfg.Callbacks.MaxGap, g.cfg.Callbacks.Kept
	o.DisableAfter, o.RotationOverlap = g.cfg.Callbacks.DisableAfter, g.cfg.Callbacks.RotationOverlap
	o.Store, o.SaveEvery = g.callbackTable, g.cfg.Callbacks.SaveInterval
	o.TotalBytes, o.Concurrency = g.cfg.Callbacks.Bytes, g.cfg.Callbacks.Concurrency
	o.PerSender = g.cfg.Limits.SenderCallbacks
	o.Own = g.own
	o.SigningKey = g.signingKey
	o.DrainTimeout = g.cfg.ShutdownTimeout / 2
	return o
}

func (g *Gateway) httpOptions(secure *tls.Config) http.Options {
	o := http.DefaultOptions()
	o.Listen = g.cfg.HTTP.Listen
	o.TLSListen, o.TLS = g.cfg.HTTP.TLSListen, secure
	o.ServeMQTT = g.broker.ServeConn
	o.CORSOrigins, o.Hosts, o.OwnHost = g.cfg.HTTP.CORSOrigins, g.cfg.HTTP.Hosts, g.ownHost()
	o.Heartbeat = g.cfg.HTTP.Heartbeat
	o.MailboxTimeout = g.cfg.HTTP.MailboxTimeout
	o.StreamQueue = g.cfg.HTTP.StreamQueue
	o.ReadTimeout, o.WriteTimeout = g.cfg.HTTP.ReadTimeout, g.cfg.HTTP.WriteTimeout
	o.DrainTimeout = g.cfg.ShutdownTimeout / 2
	o.TrustedProxies = g.cfg.HTTP.TrustedProxies
	o.MaxConnections, o.Intake = g.cfg.Limits.HTTPConnections, g.intake
	o.SenderStreams = g.cfg.Limits.SenderStreams
	o.Requests.Burst, o.Requests.Every = g.cfg.Limits.SenderRequests, time.Second/time.Duration(g.cfg.Limits.SenderRequests)
	o.Gate = g.gate
	if g.cfg.HTTP.Console {
		o.Operator = g.people
	}
	o.Ready = func() error { return errors.Join(g.store.Healthy(), g.state.Healthy()) }
	o.Manages = g.people.Manages
	return o
}
