package config

import "strings"

// Setting describes one setting.
type Setting struct {
	Path    string // in the file: udp.listen
	Env     string // WATCHTOWER_UDP_LISTEN
	Flag    string // udp-listen
	Alias   string // a shorter flag, or empty
	Default string
	Usage   string // one line
	Secret  bool   // not to be shown unasked
}

// Settings lists every setting in the order of the printed configuration.
// Channels are not among them: they are set in the file only.
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

// settings is the table: every setting, its place in c, default, rule and
// usage. A section's settings stand together.
func settings(c *Config) []setting {
	return []setting{
		define("http.listen", ":8080", text(&c.HTTP.Listen, listenAddress), "where HTTP listens, host:port; empty: off").alias("http"),
		define("http.tls_listen", ":8443", text(&c.HTTP.TLSListen, listenAddress), "where HTTPS listens if there is a certificate, host:port; empty: off"),
		define("http.linger", "30s", duration(&c.HTTP.Linger, 0), "how long a membership outlives its stream"),
		define("http.heartbeat", "15s", duration(&c.HTTP.Heartbeat, leastTime), "silence on a stream before a heartbeat"),
		define("http.trusted_proxies", "", prefixes(&c.HTTP.TrustedProxies), "addresses or CIDRs of reverse proxies whose X-Forwarded-For counts"),
		define("http.cors_origins", "", list(&c.HTTP.CORSOrigins, webOrigin), "origins, such as https://dash.lan, whose pages may use the API; *: all"),
		define("http.hosts", "", list(&c.HTTP.Hosts, hostPattern), "names, such as gateway.example.org or *.example.org, by which a gateway without a secret key may be asked for"),
		define("http.read_timeout", "30s", duration(&c.HTTP.ReadTimeout, leastTime), "longest time for a request to arrive"),
		define("http.write_timeout", "10s", duration(&c.HTTP.WriteTimeout, leastTime), "longest time for one write to a client"),
		define("http.stream_queue", "1024", number(&c.HTTP.StreamQueue, 1, mostQueued), "messages that wait for one stream"),
		define("http.mailbox_timeout", "10m", duration(&c.HTTP.MailboxTimeout, leastTime), "after how long a mailbox that nobody reads leaves its channels"),
		define("http.console", "true", boolean(&c.HTTP.Console), "let operators manage the gateway over HTTP, below /operator"),

		define("udp.listen", ":3033", text(&c.UDP.Listen, listenAddress), "where UDP listens, host:port; empty: off").alias("udp"),
		define("udp.segmentation_offload", "true", boolean(&c.UDP.SegmentationOffload), "have the system cut datagrams to one receiver apart (Linux); false: for network devices that do it wrong"),

		define("tcp.listen", ":3033", text(&c.TCP.Listen, listenAddress), "where TCP listens, host:port; empty: off").alias("tcp"),
		define("tcp.queue", "1024", number(&c.TCP.Queue, 1, mostQueued), "messages that wait for one connection"),
		define("tcp.write_timeout", "10s", duration(&c.TCP.WriteTimeout, leastTime), "longest time for one write to a client"),

		define("mqtt.listen", ":1883", text(&c.MQTT.Listen, listenAddress), "where MQTT listens, host:port; empty: off").alias("mqtt"),
		define("mqtt.tls_listen", ":8883", text(&c.MQTT.TLSListen, listenAddress), "where MQTT over TLS listens if there is a certificate, host:port; empty: off"),
		define("mqtt.base_topic", "watchtower", text(&c.MQTT.BaseTopic, baseTopic), "topic under which the gateway's topics are"),
		define("mqtt.max_packet_bytes", "1048576", number(&c.MQTT.MaxPacketBytes, 66_000, 256<<20), "largest MQTT packet in bytes"),
		define("mqtt.connect_timeout", "10s", duration(&c.MQTT.ConnectTimeout, leastTime), "longest time for CONNECT to arrive"),
		define("mqtt.write_timeout", "10s", duration(&c.MQTT.WriteTimeout, leastTime), "longest time for one write to a client"),
		define("mqtt.max_keep_alive", "0s", seconds(&c.MQTT.MaxKeepAlive, mostKeepAlive), "longest keep-alive of a client, in whole seconds; 0s: any, and none"),
		define("mqtt.session_queue", "1000", number(&c.MQTT.SessionQueue, 1, mostQueued), "messages that wait for one session"),
		define("mqtt.session_queue_bytes", "4194304", number(&c.MQTT.SessionQueueBytes, 1, 1<<30), "bytes of messages that wait for one session"),
		define("mqtt.session_expiry", "336h", duration(&c.MQTT.SessionExpiry, 0), "longest time that a session outlives its connection"),
		define("mqtt.will_grace", "30s", duration(&c.MQTT.WillGrace, 0), "after a start, how long the wills of clients that were connected before wait for them"),
		define("mqtt.save_interval", "250ms", duration(&c.MQTT.SaveInterval, leastTime), "time between two writes of sessions and retained messages to the disk"),

		define("homeassistant.enabled", "true", boolean(&c.HomeAssistant.Enabled), "tell Home Assistant of the channels with homeassistant: true; false: and take back what it was told"),
		define("homeassistant.discovery_prefix", "homeassistant", text(&c.HomeAssistant.DiscoveryPrefix, baseTopic), "topic under which Home Assistant looks for devices"),
		define("homeassistant.birth_topic", "homeassistant/status", text(&c.HomeAssistant.BirthTopic, baseTopic), "topic on which Home Assistant says online"),
		define("homeassistant.birth_delay", "5s", duration(&c.HomeAssistant.BirthDelay, 0), "longest wait before it is answered, chosen at random"),

		define("tls.certificate", "", text(&c.TLS.Certificate, anyText), "file with the certificate and its chain, PEM; empty: no TLS"),
		define("tls.key", "", text(&c.TLS.Key, anyText), "file with the certificate's key, PEM"),
		define("tls.client_ca", "", text(&c.TLS.ClientCA, anyText), "file with the authorities of client certificates, PEM; empty: none are asked for"),
		define("tls.require_client_certificate", "false", boolean(&c.TLS.RequireClientCertificate), "refuse clients without a certificate"),

		define("secret_key", "", text(&c.SecretKey, secretKey), "key with which everybody may register; empty: one is generated and kept").secret(),
		define("admin_key", "", text(&c.AdminKey, secretKey), "key with which an operator signs in; empty: one is generated and kept").secret(),
		define("open", "false", boolean(&c.Open), "run without a secret key: everybody may register"),
		define("data_dir", "", text(&c.DataDir, dataDir), "where senders and keys are kept; empty: $STATE_DIRECTORY, else ~/.local/state/watchtower"),
		define("gateway.name", "", text(&c.Gateway.Name, gatewayName), "this gateway's name, A–Z a–z 0–9 _ . - up to 64; empty: generated once"),
		define("auth.require_token", "false", boolean(&c.Auth.RequireToken), "over HTTP every sender needs its token"),

		define("senders.expire_after", "400d", duration(&c.Senders.ExpireAfter, leastExpiry), "how long a name is remembered after it was last seen"),
		define("senders.expire_unnamed_after", "30d", duration(&c.Senders.ExpireUnnamedAfter, leastExpiry), "the same for a registration over HTTP without a name"),

		define("wire.basic", "true", boolean(&c.Wire.Basic), "take basic frames on UDP and TCP"),
		define("wire.basic_key", "", text(&c.Wire.BasicKey, secretKey), "key of basic frames in place of the secret key; empty: the secret key").secret(),
		define("wire.idle_timeout", "2m", duration(&c.Wire.IdleTimeout, leastTime), "silence after which a UDP client is gone"),
		define("wire.frame_timeout", "30s", duration(&c.Wire.FrameTimeout, leastTime), "longest time for a frame to arrive on TCP"),
		define("wire.session_queue", "64", number(&c.Wire.SessionQueue, 1, mostQueued), "messages that wait for one session device"),
		define("wire.retry_gap", "1s", duration(&c.Wire.RetryGap, leastTime), "time before a delivery over UDP is repeated the first time"),

		define("history.messages", "100", number(&c.History.Messages, 0, 100_000), "last messages of each channel that are kept for those who were away; 0: none"),
		define("history.age", "1h", duration(&c.History.Age, leastTime), "longest time that they are kept"),
		define("history.bytes", "16777216", number(&c.History.Bytes, 1, mostBytes), "most memory that they take, all channels together"),

		define("limits.message_bytes", "64000", number(&c.Limits.MessageBytes, 1, 64_000), "largest message in bytes"),
		define("limits.senders", "100000", number(&c.Limits.Senders, 1, 1<<24), "most senders that are remembered: names, and registrations over HTTP"),
		define("limits.sender_channels", "10000", number(&c.Limits.SenderChannels, 1, 1<<20), "most channels that one sender joins"),
		define("limits.sender_streams", "10000", number(&c.Limits.SenderStreams, 1, mostConnections), "most streams that one sender has open"),
		define("limits.sender_callbacks", "100", number(&c.Limits.SenderCallbacks, 1, 100_000), "most URLs that one sender's callbacks have"),
		define("limits.sender_requests", "100000", number(&c.Limits.SenderRequests, 1, 1_000_000), "most requests of one sender over HTTP, a second and at once"),
		define("limits.failures", "60", number(&c.Limits.Failures, 1, 1_000_000), "wrong keys, passwords, tokens and senders of one address, over all protocols, before it has to wait"),
		define("limits.failure_interval", "1s", duration(&c.Limits.FailureInterval, leastTime), "time after which one of them is forgiven"),
		define("limits.strangers_bytes", "8388608", number(&c.Limits.StrangersBytes, 1<<16, mostBytes), "most memory of all connections that have not registered yet, on all protocols together, in bytes"),
		define("limits.unfinished_bytes", "67108864", number(&c.Limits.UnfinishedBytes, 1<<16, mostBytes), "most memory of all messages of known senders that have begun and not ended, in bytes"),
		define("limits.register_timeout", "10s", duration(&c.Limits.RegisterTimeout, leastTime), "a TCP, MQTT or HTTP connection that has not registered for longer is the first to go where a limit is reached"),
		define("limits.connections_per_address", "1000", number(&c.Limits.ConnectionsPerAddress, 1, mostConnections), "most connections from one address to each of TCP, MQTT and HTTP, and most of its basic ids over UDP"),
		define("limits.tcp_connections", "10000", number(&c.Limits.TCPConnections, 1, mostConnections), "most TCP connections at a time"),
		define("limits.http_connections", "10000", number(&c.Limits.HTTPConnections, 1, mostConnections), "most HTTP connections at a time, streams and WebSockets included"),
		define("limits.udp_basic", "20000", number(&c.Limits.UDPBasic, 1, 1<<20), "most ids of basic frames over UDP at a time"),
		define("limits.udp_sessions", "100000", number(&c.Limits.UDPSessions, 1, 1<<20), "most sessions over UDP at a time"),
		define("limits.mqtt_connections", "10000", number(&c.Limits.MQTTConnections, 1, mostConnections), "most MQTT connections at a time"),
		define("limits.mqtt_sessions", "20000", number(&c.Limits.MQTTSessions, 1, 2*mostConnections), "most MQTT sessions, connected or away"),
		define("limits.mqtt_subscriptions", "10000", number(&c.Limits.MQTTSubscriptions, 1, 1<<20), "most subscriptions of one MQTT session"),
		define("limits.mqtt_subscription_bytes", "33554432", number(&c.Limits.MQTTSubscriptionBytes, 4096, mostBytes), "most memory that the subscriptions of all MQTT sessions take, in bytes; a quarter of it for one"),
		define("limits.mqtt_queue_bytes", "67108864", number(&c.Limits.MQTTQueueBytes, 4096, mostBytes), "most memory that what waits for all MQTT sessions takes, in bytes"),
		define("limits.mqtt_retained", "200000", number(&c.Limits.MQTTRetained, 0, 100_000_000), "most retained messages of clients"),
		define("limits.mqtt_retained_bytes", "67108864", number(&c.Limits.MQTTRetainedBytes, 0, mostBytes), "most memory that they take, in bytes"),
		define("limits.homeassistant_devices", "256", number(&c.Limits.HomeAssistantDevices, 0, 10_000), "most devices that describe themselves to Home Assistant"),

		define("callbacks.allow", "", list(&c.Callbacks.Allow, hostOrCIDR), "hosts, addresses or CIDRs that callbacks may reach besides public and private ones").alias("allow-callbacks"),
		define("callbacks.public_only", "false", boolean(&c.Callbacks.PublicOnly), "callbacks reach public addresses only"),
		define("callbacks.timeout", "15s", duration(&c.Callbacks.Timeout, leastTime), "longest time for one delivery to a callback"),
		define("callbacks.retries", "8", number(&c.Callbacks.Retries, 0, 100), "further tries after a failed delivery"),
		define("callbacks.retry_gap", "1s", duration(&c.Callbacks.RetryGap, leastTime), "time before the first further try; it doubles with each"),
		define("callbacks.max_gap", "5m", duration(&c.Callbacks.MaxGap, leastTime), "longest time between two tries"),
		define("callbacks.disable_after", "5d", duration(&c.Callbacks.DisableAfter, leastTime), "after how long without a success a callback is switched off"),
		define("callbacks.rotation_overlap", "1d", duration(&c.Callbacks.RotationOverlap, 0), "how long a callback's old secret signs too after it was rotated"),
		define("callbacks.kept", "100", number(&c.Callbacks.Kept, 0, mostQueued), "messages of one callback that were given up and can be replayed"),
		define("callbacks.bytes", "67108864", number(&c.Callbacks.Bytes, 1, mostBytes), "most bytes of messages that wait for all callbacks together, or are kept"),
		define("callbacks.concurrency", "1000", number(&c.Callbacks.Concurrency, 1, 100_000), "most deliveries to callbacks at a time"),
		define("callbacks.save_interval", "250ms", duration(&c.Callbacks.SaveInterval, leastTime), "time between two writes of what waits for callbacks to the disk"),
		define("callbacks.queue", "256", number(&c.Callbacks.Queue, 1, mostQueued), "messages that wait for one callback"),

		define("shutdown_timeout", "10s", duration(&c.ShutdownTimeout, leastTime), "longest time for a clean stop"),
		define("log.level", "info", text(&c.Log.Level, oneOf("debug", "info", "warn", "error")), "what is logged: debug, info, warn, error"),
		define("log.format", "text", text(&c.Log.Format, oneOf("text", "json")), "how it is logged: text, json"),
	}
}

func define(path, def string, v value, usage string) setting {
	return setting{
		Setting: Setting{
			Path:    path,
			Env:     variable(path),
			Flag:    strings.ReplaceAll(strings.ReplaceAll(path, ".", "_"), "_", "-"),
			Default: def,
			Usage:   usage,
		},
		value: v,
	}
}

// variable is the environment variable of a path.
func variable(path string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "_"))
}

func (s setting) alias(flag string) setting { s.Alias = flag; return s }

func (s setting) secret() setting { s.Secret = true; return s }
