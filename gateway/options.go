package gateway

import (
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"time"

	"watchtower/bridge"
	"watchtower/callback"
	"watchtower/channelmap"
	"watchtower/config"
	"watchtower/history"
	"watchtower/homeassistant"
	"watchtower/http"
	"watchtower/intake"
	"watchtower/irc"
	"watchtower/mqtt"
	"watchtower/tcp"
	"watchtower/udp"
	"watchtower/wire/keys"
)

// listedFor returns how long after its last message a channel without members stays in
// the list of channels: as long as it has a history.
func listedFor(h config.History) time.Duration {
	if h.Messages == 0 {
		return 0
	}
	return h.Age
}

// intakeOptions are the bounds on strangers and on incomplete messages.
func (g *Gateway) intakeOptions() intake.Options {
	return intake.Options{
		Limits: g.cfg.Limits, Largest: max(g.cfg.MQTT.MaxPacketBytes, http.LargestBody(g.cfg.Limits.MessageBytes)),
		Counters: g.hub.Counters(), Log: g.log,
	}
}

func (g *Gateway) hubOptions() (bridge.Options, error) {
	o := bridge.Options{
		Limits:     g.cfg.Limits,
		Senders:    g.cfg.Senders,
		Auth:       g.cfg.Auth,
		SecretKey:  g.secrets.key,
		Generation: g.secrets.generation,
		OwnKeys:    g.cfg.Wire.DeviceKeys != keys.Off,
		OwnNames:   g.ownNames(),
		Users:      slices.Collect(maps.Keys(g.cfg.Users)),
		IDKey:      g.secrets.idKey,
		PassKey:    g.passKey,
		Linger:     g.cfg.HTTP.Linger,
		ListedFor:  listedFor(g.cfg.History),
		Tree:       bridge.NewTree(g.cfg.MQTT.BaseTopic, g.name),
		Store:      g.store,
		Log:        g.log,

		KeepHalfConfirmed: g.keepHalfConfirmed,
	}
	g.space.shape(&o)
	return o, g.remoteIDs(&o)
}

func (g *Gateway) mqttOptions(secure *tls.Config) mqtt.Options {
	// Only the gateway may publish its own discovery topics: no client can change how Home
	// Assistant sees it.
	discovery := g.discovery()
	return mqtt.Options{
		MQTT: g.cfg.MQTT, Limits: g.cfg.Limits, TLS: secure, Users: brokerUsers(g.cfg.Users),
		Reserved: []string{"watchtower-" + g.name, "watchtower-" + g.knownAs(), channelmap.SenderName}, OwnTopics: []string{discovery + "/", discovery + "_"},
		Intake: g.intake, Gate: g.gate, Passwords: g.passwords, Store: g.state,
	}
}

// knownAs is the name by which Home Assistant knows the gateway: in a space, that of the space.
func (g *Gateway) knownAs() string {
	if g.cfg.Cluster.URL != "" && g.cfg.MQTT.Remote.URL == "" {
		return g.cfg.Cluster.Space
	}
	return g.name
}

// discovery is the beginning of the topics by which Home Assistant discovers the gateway's devices.
func (g *Gateway) discovery() string {
	return g.cfg.HomeAssistant.DiscoveryPrefix + "/device/" + homeassistant.GatewayID(g.knownAs())
}

func (g *Gateway) homeAssistantOptions() homeassistant.Options {
	return homeassistant.Options{
		HomeAssistant: g.cfg.HomeAssistant, Limits: g.cfg.Limits, Pace: g.pace,
		Channels: houseNames(g.cfg), Apart: apart(g.cfg), Version: Version,
	}
}

// apart returns the channels that are devices of their own in Home Assistant.
func apart(cfg config.Config) map[bridge.Channel]bool {
	own := map[bridge.Channel]bool{}
	for n, c := range cfg.Channels {
		own[bridge.Channel(n)] = c.Device
	}
	return own
}

// rulesOf returns the rules of the channels that want more than one.
func rulesOf(cfg config.Config) map[bridge.Channel]bridge.Rule {
	rules := map[bridge.Channel]bridge.Rule{}
	for n, c := range cfg.Channels {
		if c.Confirm > 0 {
			rules[bridge.Channel(n)] = bridge.Rule{Confirm: c.Confirm, Within: c.Within, Unprotected: c.Unprotected}
		}
	}
	return rules
}

// houseNames returns the names of the channels that are announced to Home Assistant.
func houseNames(cfg config.Config) map[bridge.Channel]string {
	names := map[bridge.Channel]string{}
	for n, c := range cfg.Channels {
		if c.HomeAssistant && cfg.HomeAssistant.Enabled {
			names[bridge.Channel(n)] = c.Name
		}
	}
	return names
}

// brokerUsers converts the configured users for package mqtt.
func brokerUsers(configured map[string]config.User) map[string]mqtt.User {
	users := map[string]mqtt.User{}
	for name, u := range configured {
		user := mqtt.User{Hash: []byte(u.PasswordHash)}
		if u.ACL != nil {
			user.Rules = []mqtt.Rule{} // an empty list allows nothing; nil would allow everything
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
		UDP: g.cfg.UDP, Wire: g.cfg.Wire, Limits: g.cfg.Limits,
		Gateway: g.id, TCPPort: func() uint16 { return g.tcpPort }, Keys: g.keys, Gate: g.gate,
	}
}

func (g *Gateway) tcpOptions() tcp.Options {
	return tcp.Options{
		TCP: g.cfg.TCP, Wire: g.cfg.Wire, Limits: g.cfg.Limits,
		Gateway: g.id, Keys: g.keys, Gate: g.gate, Intake: g.intake,
	}
}

func (g *Gateway) ircOptions() irc.Options {
	o := irc.Options{
		IRC: g.cfg.IRC, Limits: g.cfg.Limits, TLS: g.secure, Users: passwordUsers{g.broker},
		Names: g.channelNames, State: g.stateLines, Gate: g.gate, Intake: g.intake,
	}
	if g.cfg.History.Messages > 0 {
		o.Past = g.past
	}
	return o
}

// passwordUsers are the configured users, for a protocol other than the broker's.
type passwordUsers struct{ *mqtt.Broker }

func (u passwordUsers) Rights(user, client string) irc.Rights { return u.Broker.Rights(user, client) }

// channelNames returns the names of channels in force.
func (g *Gateway) channelNames() map[bridge.Channel]string {
	names := map[bridge.Channel]string{}
	for n, c := range g.reloads.inForce().Channels {
		if c.Name != "" {
			names[bridge.Channel(n)] = c.Name
		}
	}
	return names
}

// stateLines describes the gateway's state for people.
func (g *Gateway) stateLines() []string {
	members, senders := g.hub.Directory().Counts()
	on := 0
	for _, n := range members {
		on += n
	}
	return []string{
		fmt.Sprintf("Watchtower %s, gateway %s", Version, g.name),
		fmt.Sprintf("%d channels, %d members, %d senders", len(g.hub.Directory().Channels()), on, senders),
		fmt.Sprintf("%d messages since the start, %d lost", g.messagesIn(), g.lost()),
	}
}

// replayOverlap is longer than a message takes to another gateway, and than clocks should differ.
const replayOverlap = 2 * time.Second

func (g *Gateway) historyOptions() history.Options {
	o := history.Options{History: g.cfg.History, Store: g.store.Document("history")}
	if g.space != nil {
		o.Overlap, o.Slot = replayOverlap, g.space.place.Slot
	}
	return o
}

func (g *Gateway) callbackOptions() callback.Options {
	return callback.Options{
		Callbacks: g.cfg.Callbacks, Limits: g.cfg.Limits, DrainTimeout: g.cfg.ShutdownTimeout / 2,
		SigningKey: g.signingKey, Store: g.callbackTable, Listeners: g.listeners, Space: g.callbackSpace(),
	}
}

func (g *Gateway) httpOptions(secure *tls.Config) http.Options {
	return http.Options{
		HTTP: g.cfg.HTTP, Limits: g.cfg.Limits, DrainTimeout: g.cfg.ShutdownTimeout / 2,
		TLS: secure, OwnHost: g.ownHost(), Gate: g.gate, Intake: g.intake,
		ServeMQTT: g.broker.ServeConn, Operator: g.people, Page: g.page, Manages: g.people.Manages,
		Ready: g.healthy, Apart: g.apart, Foreign: g.foreign(), MapSkips: g.maps.Skipped, Leases: g.leaseHolders, DeviceSessions: g.deviceSessions,
		MQTTSessions: g.mqttSessions, LastBackup: g.lastBackupTime, Gateway: g.id,
	}
}
