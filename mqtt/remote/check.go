package remote

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"watchtower/config"
)

// Row is one thing of the gateway, and what becomes of it at a foreign broker.
type Row struct {
	What string `json:"what"`
	Here string `json:"here"`
}

// Report is what a foreign broker does.
type Report struct {
	Broker string `json:"broker"` // its address
	Findings
	NoLocal  bool   `json:"keeps_own_messages_away"` // the gateway's own do not come back
	Wildcard bool   `json:"retained_by_wildcard"`    // what is retained comes to filters with wildcards
	Probed   bool   `json:"probed"`                  // as a device
	Usable   bool   `json:"usable"`                  // with these settings
	Why      string `json:"why,omitempty"`           // it is not
	Rows     []Row  `json:"features"`
}

// Check connects to the broker of the settings as the gateway of a name, and as a device if
// there is mqtt.remote.probe, and tries what it does. Discovery is the prefix of Home Assistant's
// topics; empty: nothing is announced. What it leaves there it removes. It disturbs no gateway.
func Check(ctx context.Context, opts config.MQTT, gateway, discovery string) (r Report, err error) {
	l, err := newLogin(opts.Remote, opts.MaxPacketBytes)
	if err != nil {
		return r, err
	}
	r.Broker = l.address
	l.client, l.clean = "watchtower-check-"+rand.Text()[:8], true
	c, err := dial(ctx, l, 0)
	if errors.Is(err, ErrNoLocal) {
		r.Why = err.Error()
		return r, nil
	}
	if err != nil {
		return r, err
	}
	defer func() { _ = c.Close() }()
	defer c.until(ctx)()
	r.MQTT, r.Limit = versionName(c.version), c.ack.Properties.ReceiveMaximum
	if err := (rights{l, opts.BaseTopic, gateway, discovery}).try(ctx, 0); err != nil {
		if no := (*forbidden)(nil); errors.As(err, &no) {
			r.Why = err.Error()
			return r, nil
		}
		return r, err
	}
	about := opts.BaseTopic + "/gateways/" + gateway + "/check-" + rand.Text()[:8]
	if r.NoLocal, err = c.keepsAway(about + "/echo"); err != nil {
		return r, err
	}
	if r.Wildcard, err = c.keepsForWildcards(about); err != nil {
		return r, err
	}
	if opts.Remote.Probe.User != "" {
		if r.Findings, err = probe(ctx, opts, l, 0); err != nil {
			return r, err
		}
		r.Probed = true
	}
	switch {
	case !r.NoLocal:
		r.Why = ErrNoLocal.Error()
	case opts.Remote.Trust == "acl" && r.Forges:
		r.Why = ErrUntrusted.Error()
	}
	r.Usable = r.Why == ""
	r.Rows = r.rows(opts.Remote.Trust)
	return r, nil
}

// keepsAway reports whether the connection's own messages do not come back.
func (c *conn) keepsAway(topic string) (bool, error) {
	if code, err := c.askFor(topic, 1, true); err != nil || code >= 0x80 {
		return false, errors.Join(err, fmt.Errorf("the broker does not let the gateway read %s: see its access rules", topic))
	}
	word := rand.Text()
	if _, err := c.say(topic, word); err != nil {
		return false, err
	}
	came, err := c.hears(word, "")
	return !came, err
}

// keepsForWildcards reports whether what is retained comes to filters with wildcards.
func (c *conn) keepsForWildcards(about string) (bool, error) {
	topic, word := about+"/kept", rand.Text()
	if _, err := c.retain(topic, word); err != nil {
		return false, err
	}
	if _, err := c.ask(about + "/+"); err != nil {
		return false, err
	}
	came, err := c.hears(word, "")
	_, failed := c.retain(topic, "")
	return came, errors.Join(err, failed)
}

// rows are the features that differ from broker to broker.
func (r *Report) rows(trust string) []Row {
	new5 := r.MQTT == "5"
	choose := func(is bool, yes, no string) string {
		if is {
			return yes
		}
		return no
	}
	proof := "not tried: set mqtt.remote.probe"
	reads := proof
	if r.Probed {
		proof = choose(!r.Forges, "by the broker's rules"+choose(r.Refuses, ", which tell the client (0x87)", "; the client is not told"), "none: any client can speak as another")
		reads = choose(!r.Reads, "by the broker's rules", "none: any client can read what is for another")
	}
	if trust == "none" && (!r.Probed || r.Forges) {
		proof = "none; its clients are heard only under ids registered with remote: true"
	}
	rows := []Row{
		{"who speaks", proof},
		{"privacy of what is sent to one of its clients", reads},
		{"who is a member", "its clients say so themselves (<base>/joins/<id>)" + choose(r.Wildcard, "", "; the broker does not tell what was said before: they must say it again after a restart of the gateway")},
		{"QoS 1", "at least once, up to the broker's own queue for a client that is away"},
		{"message id, name and content type for its clients", choose(new5, "as user properties", "none: MQTT 3.1.1 has no properties")},
		{"a retain flag on a channel", choose(new5, "removed, and counted", "removed at the next connection only")},
		{"why a publish is refused", "not told: it is dropped, counted and logged"},
		{"watchtower/me, tokens as passwords, protected names, users' rules", "at the gateway's own listener only"},
		{"leaving over HTTP", "ends the membership, not the client's subscription"},
		{"history, streams, callbacks, UDP, TCP, IRC", "as always"},
		{"unacknowledged messages at a time", fmt.Sprint(choose(r.Limit == 0, "as many as MQTT allows", fmt.Sprint(r.Limit)))},
		{"several gateways", choose(new5, "share their channels, if they have one secret_key", "no: nothing tells one gateway's messages from a client's, and some may come twice")},
		{"Home Assistant", choose(r.Wildcard, "at this broker, by discovery", "does not find devices: the broker does not give what is retained to filters with wildcards")},
	}
	return slices.Clip(rows)
}

// Rules are access rules by which nobody speaks as another, by broker.
func Rules(base, user, discovery string) map[string]string {
	if user == "" {
		user = "gateway"
	}
	own, dotted := base+"/", strings.ReplaceAll(base, "/", `\.`)
	return map[string]string{
		"mosquitto": `# the file of acl_file
user ` + user + `
topic readwrite #
topic read $SYS/#

# what is not named here is forbidden: what is there already needs its lines, too, such as
#   user zigbee2mqtt
#   topic readwrite zigbee2mqtt/#
#   topic readwrite ` + discovery + `/#
# and for homeassistant: topic readwrite zigbee2mqtt/#
user homeassistant
topic readwrite ` + discovery + `/#
topic read ` + own + `#
topic write ` + own + `channels/+/broadcast
topic write ` + own + `channels/+/send/+

pattern write ` + own + `channels/+/broadcast/%u
pattern write ` + own + `channels/+/send/+/%u
pattern read ` + own + `channels/+/send/%u/+
pattern read ` + own + `channels/+/broadcast/+
pattern write ` + own + `joins/%u
`,
		"EMQX": `%% acl.conf; and authorization.no_match = deny
{allow, {username, "` + user + `"}, all, ["#"]}.
{allow, {username, "homeassistant"}, all, ["` + discovery + `/#"]}.
{allow, {username, "homeassistant"}, subscribe, ["` + own + `#"]}.
{allow, {username, "homeassistant"}, publish, ["` + own + `channels/+/broadcast", "` + own + `channels/+/send/+"]}.
{allow, all, publish, ["` + own + `channels/+/broadcast/${username}", "` + own + `channels/+/send/+/${username}", "` + own + `joins/${username}"]}.
{allow, all, subscribe, ["` + own + `channels/+/broadcast/+", "` + own + `channels/+/send/${username}/+"]}.
{deny, all}.
`,
		"RabbitMQ": `# for each device, with its id as DEVICE; topics have dots there
rabbitmqctl set_topic_permissions -p / ` + user + ` amq.topic '.*' '.*'
rabbitmqctl set_topic_permissions -p / DEVICE amq.topic \
  '^` + dotted + `\.(channels\.[0-9]+\.(broadcast|send\.[0-9]+)\.{username}|joins\.{username})$' \
  '^` + dotted + `\.channels\.([0-9]+|\*)\.(broadcast\.([0-9]+|\*)|send\.{username}\.([0-9]+|\*))$'
`,
	}
}
