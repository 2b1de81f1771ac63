package config

import "strings"

// Setting describes one setting.
type Setting struct {
	Path    string // the key in the file: udp.listen
	Env     string // WATCHTOWER_UDP_LISTEN
	Flag    string // udp-listen
	Alias   string // a shorter flag, or empty
	Default string
	Range   string // the allowed values, in words: "1 to 64000"
	Unit    string // of the value; empty: it has none
	Usage   string // one line
	Secret  bool   // shown only on request
	Reloads bool   // a reload puts a new value in force
}

// Help returns the text that the command line and the printed configuration show for a
// setting.
func (s Setting) Help() string {
	if s.Unit == "" || s.Unit == timeUnit {
		return s.Usage
	}
	return s.Usage + " (" + s.Range + " " + s.Unit + ")"
}

// Settings lists every setting in the order of the printed configuration.
// Channels and users are not among them: they are set in the file only.
func Settings() []Setting {
	var c Config
	var all []Setting
	for _, s := range settings(&c) {
		all = append(all, s.Setting)
	}
	return all
}

// setting is a Setting, and its place in one Config.
type setting struct {
	Setting
	value value
}

// settings is the table: a row for every setting, with its default, its place in c, its
// range, its unit and its help. No other place in the program holds any of these: each
// package is handed its section, and tests start from Default. The settings of a section
// stand together.
func settings(c *Config) []setting {
	return []setting{
		row("http.listen", ":8080", text(&c.HTTP.Listen, addressRule), "where HTTP listens, host:port; empty: off").alias("http"),
		row("http.tls_listen", ":8443", text(&c.HTTP.TLSListen, addressRule), "where HTTPS listens if there is a certificate, host:port; empty: off"),
		row("http.linger", "30s", duration(&c.HTTP.Linger, 0), "how long a membership outlives its stream"),
		row("http.heartbeat", "15s", duration(&c.HTTP.Heartbeat, leastTime), "silence on a stream before a heartbeat"),
		row("http.trusted_proxies", "", prefixes(&c.HTTP.TrustedProxies), "addresses or CIDRs of reverse proxies whose X-Forwarded-For counts"),
		row("http.ingress", "", prefixes(&c.HTTP.Ingress), "addresses or CIDRs of Home Assistant's ingress: who comes from there to the console has signed in at Home Assistant, and manages the gateway"),
		row("http.cors_origins", "", list(&c.HTTP.CORSOrigins, originRule), "origins, such as https://dash.lan, whose pages may use the API; *: all"),
		row("http.hosts", "", list(&c.HTTP.Hosts, hostRule), "host names by which clients may call a gateway without a secret key, such as gateway.example.org or *.example.org"),
		row("http.read_timeout", "30s", duration(&c.HTTP.ReadTimeout, leastTime), "longest time for a request to arrive"),
		row("http.write_timeout", "10s", duration(&c.HTTP.WriteTimeout, leastTime), "longest time for one write to a client"),
		row("http.stream_queue", "1024", number(&c.HTTP.StreamQueue, 1, mostQueued, "messages"), "messages that wait for one stream"),
		row("http.mailbox_timeout", "10m", duration(&c.HTTP.MailboxTimeout, leastTime), "a mailbox that nobody reads for this long leaves its channels"),
		row("http.console", "true", boolean(&c.HTTP.Console), "serve the console at /, and the operators' calls below /operator"),
		row("http.pages", "", text(&c.HTTP.Pages, fileRule), "directory whose files are served at /pages/, to everybody; empty: off"),

		row("udp.listen", ":3033", text(&c.UDP.Listen, addressRule), "where UDP listens, host:port; empty: off").alias("udp"),
		row("udp.segmentation_offload", "true", boolean(&c.UDP.SegmentationOffload), "hand several datagrams to one receiver to the system in one write, to be split there (Linux); false: for network devices that split them wrong"),

		row("tcp.listen", ":3033", text(&c.TCP.Listen, addressRule), "where TCP listens, host:port; empty: off").alias("tcp"),
		row("tcp.queue", "1024", number(&c.TCP.Queue, 1, mostQueued, "messages"), "messages that wait for one connection"),
		row("tcp.write_timeout", "10s", duration(&c.TCP.WriteTimeout, leastTime), "longest time for one write to a client"),

		row("mqtt.listen", ":1883", text(&c.MQTT.Listen, addressRule), "where MQTT listens, host:port; empty: off").alias("mqtt"),
		row("mqtt.tls_listen", ":8883", text(&c.MQTT.TLSListen, addressRule), "where MQTT over TLS listens if there is a certificate, host:port; empty: off"),
		row("mqtt.base_topic", "watchtower", text(&c.MQTT.BaseTopic, topicRule), "topic below which all topics of the gateway are"),
		row("mqtt.max_packet_bytes", "1048576", number(&c.MQTT.MaxPacketBytes, 66_000, 256<<20, "bytes"), "largest MQTT packet"),
		row("mqtt.connect_timeout", "10s", duration(&c.MQTT.ConnectTimeout, leastTime), "longest time for CONNECT to arrive"),
		row("mqtt.write_timeout", "10s", duration(&c.MQTT.WriteTimeout, leastTime), "longest time for one write to a client"),
		row("mqtt.max_keep_alive", "0s", seconds(&c.MQTT.MaxKeepAlive, mostKeepAlive), "longest keep-alive of a client, in whole seconds; 0s: no limit, clients may also have none"),
		row("mqtt.session_queue", "1000", number(&c.MQTT.SessionQueue, 1, mostQueued, "messages"), "messages that wait for one session"),
		row("mqtt.session_queue_bytes", "4194304", number(&c.MQTT.SessionQueueBytes, 1, 1<<30, "bytes"), "bytes of messages that wait for one session"),
		row("mqtt.session_expiry", "14d", duration(&c.MQTT.SessionExpiry, 0), "longest time that a session outlives its connection"),
		row("mqtt.will_grace", "30s", duration(&c.MQTT.WillGrace, 0), "after a start, how long clients that were connected before have to come back, before their wills are published"),
		row("mqtt.save_interval", "250ms", duration(&c.MQTT.SaveInterval, leastTime), "time between two writes of sessions and retained messages to the disk"),

		row("mqtt.remote.url", "", text(&c.MQTT.Remote.URL, remoteRule), "broker that is not the gateway's, on which its channels stand too, such as mqtt://homeassistant.local:1883 or mqtts://host:8883; empty: none"),
		row("mqtt.remote.user", "", text(&c.MQTT.Remote.User, loginRule), "the gateway's user name at that broker; empty: none"),
		row("mqtt.remote.password", "", text(&c.MQTT.Remote.Password, loginRule), "its password there").secret(),
		row("mqtt.remote.tls_ca", "", text(&c.MQTT.Remote.TLSCA, fileRule), "file with the authorities of that broker's certificate, PEM; empty: the system's"),
		row("mqtt.remote.tls_certificate", "", text(&c.MQTT.Remote.TLSCertificate, fileRule), "file with the certificate by which the gateway proves itself to that broker, PEM; empty: none"),
		row("mqtt.remote.tls_key", "", text(&c.MQTT.Remote.TLSKey, fileRule), "file with that certificate's key, PEM"),
		row("mqtt.remote.trust", "acl", text(&c.MQTT.Remote.Trust, oneOf("acl", "none")), "acl: that broker lets nobody speak as another, which mqtt.remote.probe must show at the start; none: it does not, and its clients are heard only under ids that were registered for them"),
		row("mqtt.remote.probe.user", "", text(&c.MQTT.Remote.Probe.User, loginRule), "user name of a device at that broker, by which the gateway finds out whether it may speak as another"),
		row("mqtt.remote.probe.password", "", text(&c.MQTT.Remote.Probe.Password, loginRule), "password of that device").secret(),
		row("mqtt.remote.qos", "1", number(&c.MQTT.Remote.QoS, 0, 1, "QoS"), "with which channel messages are published at that broker; 0 is faster, and what the broker does not take is lost"),

		row("irc.listen", "", text(&c.IRC.Listen, addressRule), "where IRC listens, host:port, such as :6667; empty: off").alias("irc"),
		row("irc.tls_listen", "", text(&c.IRC.TLSListen, addressRule), "where IRC over TLS listens if there is a certificate, host:port, such as :6697; empty: off"),
		row("irc.queue", "1024", number(&c.IRC.Queue, 16, mostQueued, "messages"), "messages and replies that wait for one client of IRC"),
		row("irc.write_timeout", "10s", duration(&c.IRC.WriteTimeout, leastTime), "longest time for one write to a client"),
		row("irc.ping_interval", "2m", duration(&c.IRC.PingInterval, leastTime), "silence after which a client of IRC is asked whether it is there; after as long again it is gone"),

		row("homeassistant.enabled", "true", boolean(&c.HomeAssistant.Enabled), "announce the channels with homeassistant: true to Home Assistant; false: withdraw what was announced"),
		row("homeassistant.discovery_prefix", "homeassistant", text(&c.HomeAssistant.DiscoveryPrefix, topicRule), "topic under which Home Assistant looks for devices"),
		row("homeassistant.birth_topic", "homeassistant/status", text(&c.HomeAssistant.BirthTopic, topicRule), "topic on which Home Assistant says online"),
		row("homeassistant.birth_delay", "5s", duration(&c.HomeAssistant.BirthDelay, 0), "longest wait before a birth message is answered; the wait is random"),

		row("cluster.url", "", text(&c.Cluster.URL, natsRule), "NATS servers over which gateways share their channels, such as nats://a:4222,nats://b:4222; empty: the gateway is alone"),
		row("cluster.credentials", "", text(&c.Cluster.Credentials, fileRule), "file with the gateway's NATS credentials (.creds); empty: none"),
		row("cluster.tls_ca", "", text(&c.Cluster.TLSCA, fileRule), "file with the authorities of the NATS servers' certificates, PEM; empty: the system's"),
		row("cluster.tls_certificate", "", text(&c.Cluster.TLSCertificate, fileRule), "file with the certificate by which the gateway proves itself to NATS, PEM; empty: none"),
		row("cluster.tls_key", "", text(&c.Cluster.TLSKey, fileRule), "file with that certificate's key, PEM"),
		row("cluster.space", "home", text(&c.Cluster.Space, spaceRule), "gateways of one space share their channels"),
		row("cluster.slot", "0", number(&c.Cluster.Slot, 0, 255, "slot"), "the gateway's number in the space, from 1; 0: one is claimed and kept"),

		row("tls.certificate", "", text(&c.TLS.Certificate, fileRule), "file with the certificate and its chain, PEM; empty: no TLS").reloads(),
		row("tls.key", "", text(&c.TLS.Key, fileRule), "file with the certificate's key, PEM").reloads(),
		row("tls.client_ca", "", text(&c.TLS.ClientCA, fileRule), "file with the authorities of client certificates, PEM; empty: none are asked for").reloads(),
		row("tls.require_client_certificate", "false", boolean(&c.TLS.RequireClientCertificate), "refuse clients without a certificate").reloads(),

		row("secret_key", "", text(&c.SecretKey, keyRule), "key that clients show to register; empty: one is generated and kept").secret(),
		row("admin_key", "", text(&c.AdminKey, keyRule), "key with which an operator signs in; empty: one is generated and kept").secret().reloads(),
		row("open", "false", boolean(&c.Open), "run without a secret key: everybody may register"),
		row("mdns", "true", boolean(&c.MDNS), "announce the gateway by multicast DNS in the networks where it listens"),
		row("data_dir", "", text(&c.DataDir, directoryRule), "directory of the senders and keys; empty: $STATE_DIRECTORY, else ~/.local/state/watchtower"),
		row("gateway.name", "", text(&c.Gateway.Name, nameRule), "this gateway's name, A–Z a–z 0–9 _ . - up to 64; empty: generated once"),
		row("auth.require_token", "false", boolean(&c.Auth.RequireToken), "over HTTP every sender needs its token"),

		row("senders.expire_after", "400d", duration(&c.Senders.ExpireAfter, leastExpiry), "how long a name is remembered after it was last seen"),
		row("senders.expire_unnamed_after", "30d", duration(&c.Senders.ExpireUnnamedAfter, leastExpiry), "how long a registration over HTTP without a name is remembered after it was last seen"),

		row("wire.basic", "true", boolean(&c.Wire.Basic), "take basic frames on UDP and TCP"),
		row("wire.basic_key", "", text(&c.Wire.BasicKey, keyRule), "key of basic frames in place of the secret key; empty: the secret key").secret(),
		row("wire.device_keys", "accepted", text(&c.Wire.DeviceKeys, oneOf("required", "accepted", "off")), "keys of their own for devices of session frames: required of every device, accepted, off"),
		row("wire.idle_timeout", "2m", duration(&c.Wire.IdleTimeout, leastTime), "silence after which a UDP client is gone"),
		row("wire.frame_timeout", "30s", duration(&c.Wire.FrameTimeout, leastTime), "longest time for a frame to arrive on TCP"),
		row("wire.session_queue", "64", number(&c.Wire.SessionQueue, 1, mostQueued, "messages"), "messages that wait for one session device"),
		row("wire.retry_gap", "1s", duration(&c.Wire.RetryGap, leastTime), "time before a delivery over UDP is repeated the first time"),

		row("history.messages", "100", number(&c.History.Messages, 0, 100_000, "messages"), "how many last messages of each channel are kept for clients that were away; 0: none"),
		row("history.age", "1h", duration(&c.History.Age, leastTime), "longest time that these messages are kept"),
		row("history.bytes", "16777216", number(&c.History.Bytes, 1, mostBytes, "bytes"), "most memory that these messages take, all channels together"),

		row("limits.message_bytes", "64000", number(&c.Limits.MessageBytes, 1, MostMessageBytes, "bytes"), "largest message"),
		row("limits.senders", "100000", number(&c.Limits.Senders, 1, 1<<24, "senders"), "most remembered senders: those with a name, and registrations over HTTP"),
		row("limits.sender_channels", "10000", number(&c.Limits.SenderChannels, 1, 1<<20, "channels"), "most channels that one sender joins"),
		row("limits.sender_streams", "10000", number(&c.Limits.SenderStreams, 1, mostConnections, "streams"), "most streams that one sender has open"),
		row("limits.sender_callbacks", "100", number(&c.Limits.SenderCallbacks, 1, 100_000, "URLs"), "most URLs that one sender's callbacks have"),
		row("limits.sender_requests", "100000", number(&c.Limits.SenderRequests, 1, 1_000_000, "requests a second"), "most requests of one sender over HTTP: a second, and in one burst"),
		row("limits.failures", "60", number(&c.Limits.Failures, 1, 1_000_000, "tries"), "how many wrong keys, passwords, tokens and senders one address may try, over all protocols, before it has to wait"),
		row("limits.failure_interval", "1s", duration(&c.Limits.FailureInterval, leastTime), "time after which an address gets one of these tries back"),
		row("limits.strangers_bytes", "8388608", number(&c.Limits.StrangersBytes, 1<<16, mostBytes, "bytes"), "most memory that connections which have not registered yet take, all protocols together"),
		row("limits.unfinished_bytes", "67108864", number(&c.Limits.UnfinishedBytes, 1<<16, mostBytes, "bytes"), "most memory that incomplete messages of registered senders take, all together"),
		row("limits.register_timeout", "10s", duration(&c.Limits.RegisterTimeout, leastTime), "where a limit is reached, TCP, MQTT, IRC and HTTP connections that have not registered for longer than this are closed first"),
		row("limits.connections_per_address", "1000", number(&c.Limits.ConnectionsPerAddress, 1, mostConnections, "connections"), "most connections of one address to TCP, to MQTT, to IRC and to HTTP each, and most basic ids of one address over UDP"),
		row("limits.tcp_connections", "10000", number(&c.Limits.TCPConnections, 1, mostConnections, "connections"), "most TCP connections at a time"),
		row("limits.irc_connections", "1000", number(&c.Limits.IRCConnections, 1, mostConnections, "connections"), "most IRC connections at a time"),
		row("limits.http_connections", "10000", number(&c.Limits.HTTPConnections, 1, mostConnections, "connections"), "most HTTP connections at a time, streams and WebSockets included"),
		row("limits.udp_basic", "20000", number(&c.Limits.UDPBasic, 1, 1<<20, "ids"), "most ids of basic frames over UDP at a time"),
		row("limits.udp_sessions", "100000", number(&c.Limits.UDPSessions, 1, 1<<20, "sessions"), "most sessions over UDP at a time"),
		row("limits.mqtt_connections", "10000", number(&c.Limits.MQTTConnections, 1, mostConnections, "connections"), "most MQTT connections at a time"),
		row("limits.mqtt_sessions", "20000", number(&c.Limits.MQTTSessions, 1, 2*mostConnections, "sessions"), "most MQTT sessions, connected or away"),
		row("limits.mqtt_subscriptions", "10000", number(&c.Limits.MQTTSubscriptions, 1, 1<<20, "subscriptions"), "most subscriptions of one MQTT session"),
		row("limits.mqtt_subscription_bytes", "33554432", number(&c.Limits.MQTTSubscriptionBytes, 4096, mostBytes, "bytes"), "most memory that the subscriptions of all MQTT sessions take; a quarter of it for one session"),
		row("limits.mqtt_queue_bytes", "67108864", number(&c.Limits.MQTTQueueBytes, 4096, mostBytes, "bytes"), "most memory that the messages in the queues of all MQTT sessions take"),
		row("limits.mqtt_retained", "200000", number(&c.Limits.MQTTRetained, 0, 100_000_000, "messages"), "most retained messages of clients"),
		row("limits.mqtt_retained_bytes", "67108864", number(&c.Limits.MQTTRetainedBytes, 0, mostBytes, "bytes"), "most memory that these retained messages take"),
		row("limits.homeassistant_devices", "256", number(&c.Limits.HomeAssistantDevices, 0, 10_000, "devices"), "most devices that may describe themselves to Home Assistant"),

		row("callbacks.allow", "", list(&c.Callbacks.Allow, targetRule), "hosts, addresses or CIDRs that callbacks may reach besides public and private ones").alias("allow-callbacks").reloads(),
		row("callbacks.public_only", "false", boolean(&c.Callbacks.PublicOnly), "callbacks reach public addresses only"),
		row("callbacks.timeout", "15s", duration(&c.Callbacks.Timeout, leastTime), "longest time for one delivery to a callback"),
		row("callbacks.retries", "8", number(&c.Callbacks.Retries, 0, 100, "tries"), "further tries after a failed delivery"),
		row("callbacks.retry_gap", "1s", duration(&c.Callbacks.RetryGap, leastTime), "time before the first further try; it doubles with each"),
		row("callbacks.max_gap", "5m", duration(&c.Callbacks.MaxGap, leastTime), "longest time between two tries"),
		row("callbacks.disable_after", "5d", duration(&c.Callbacks.DisableAfter, leastTime), "a callback that had no success for this long is switched off"),
		row("callbacks.rotation_overlap", "1d", duration(&c.Callbacks.RotationOverlap, 0), "how long after a rotation the old secret of a callback also signs"),
		row("callbacks.kept", "100", number(&c.Callbacks.Kept, 0, mostQueued, "messages"), "how many given-up messages of one callback are kept for a replay"),
		row("callbacks.bytes", "67108864", number(&c.Callbacks.Bytes, 1, mostBytes, "bytes"), "most bytes of messages that wait for callbacks or are kept for a replay, all callbacks together"),
		row("callbacks.concurrency", "1000", number(&c.Callbacks.Concurrency, 1, 100_000, "deliveries"), "most deliveries to callbacks at a time"),
		row("callbacks.save_interval", "250ms", duration(&c.Callbacks.SaveInterval, leastTime), "time between two writes of the messages that wait for callbacks to the disk"),
		row("callbacks.queue", "256", number(&c.Callbacks.Queue, 1, mostQueued, "messages"), "messages that wait for one callback"),

		row("shutdown_timeout", "10s", duration(&c.ShutdownTimeout, leastTime), "longest time for a clean stop"),
		row("log.level", "info", text(&c.Log.Level, oneOf("debug", "info", "warn", "error")), "what is logged: debug, info, warn, error").reloads(),
		row("log.format", "text", text(&c.Log.Format, oneOf("text", "json")), "how it is logged: text, json"),
	}
}

func row(path, def string, v value, usage string) setting {
	return setting{
		Setting: Setting{
			Path:    path,
			Env:     variable(path),
			Flag:    strings.ReplaceAll(strings.ReplaceAll(path, ".", "_"), "_", "-"),
			Default: def,
			Range:   v.span(),
			Unit:    v.unit(),
			Usage:   usage,
		},
		value: v,
	}
}

// variable returns the name of a setting's environment variable.
func variable(path string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

func (s setting) alias(flag string) setting { s.Alias = flag; return s }

func (s setting) secret() setting { s.Secret = true; return s }

func (s setting) reloads() setting { s.Reloads = true; return s }
