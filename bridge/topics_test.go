package bridge

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParsePublish(t *testing.T) {
	tree := NewTree("watchtower", "gw")
	for topic, want := range map[string]Address{
		"watchtower/channels/5/broadcast":             {Channel: 5},
		"watchtower/channels/5/broadcast/72":          {Channel: 5, Sender: 72},
		"watchtower/channels/4294967295/send/52":      {Type: Send, Channel: 4294967295, Receiver: 52},
		"watchtower/channels/5/send/52/72":            {Type: Send, Channel: 5, Receiver: 52, Sender: 72},
		"watchtower/channels/1/send/4294967295/12345": {Type: Send, Channel: 1, Receiver: 4294967295, Sender: 12345},
	} {
		place, got, err := tree.ParsePublish(topic)
		require.Nil(t, err, topic)
		assert.Equal(t, OnChannel, place, topic)
		assert.Equal(t, want, got, topic)
	}
	for _, topic := range []string{
		"watchtower", "watchtower/", "watchtower/channels", "watchtower/channels/", "watchtower/channels/5",
		"watchtower/channels/0/broadcast", "watchtower/channels/05/broadcast", "watchtower/channels/+5/broadcast",
		"watchtower/channels/4294967296/broadcast", "watchtower/channels/5/broadcast/0", "watchtower/channels/5/broadcast/",
		"watchtower/channels/5/broadcast/1/2", "watchtower/channels/5/send", "watchtower/channels/5/send/",
		"watchtower/channels/5/send/1/2/3", "watchtower/channels/5/shout", "watchtower/members/5/gw", "watchtower/me",
		"watchtower/gateways/gw/status", "watchtower/anything",
	} {
		place, _, err := tree.ParsePublish(topic)
		assert.Equal(t, Reserved, place, topic)
		require.NotNil(t, err, topic)
		assert.Equal(t, "topic", err.Field, topic)
	}
	for _, topic := range []string{"", "/", "watchtowers", "watchtower2/channels/5/broadcast", "a/watchtower/channels/5/broadcast"} {
		place, _, err := tree.ParsePublish(topic)
		assert.Nil(t, err, topic)
		assert.Equal(t, Outside, place, topic)
	}
}

func TestParseFilter(t *testing.T) {
	tree := NewTree("watchtower", "gw")
	for filter, want := range map[string]Filter{
		"watchtower/channels/5/broadcast/+":    {Channel: 5, Broadcasts: true},
		"watchtower/channels/5/broadcast/#":    {Channel: 5, Broadcasts: true},
		"watchtower/channels/5/broadcast/72":   {Channel: 5, Broadcasts: true},
		"watchtower/channels/5/broadcast/72/#": {Channel: 5, Broadcasts: true},
		"watchtower/channels/5/#":              {Channel: 5, Broadcasts: true, Sends: true},
		"watchtower/channels/5/+/#":            {Channel: 5, Broadcasts: true, Sends: true},
		"watchtower/channels/5/+/+":            {Channel: 5, Broadcasts: true},
		"watchtower/channels/5/+/52/+":         {Channel: 5, Sends: true, Receiver: 52},
		"watchtower/channels/5/send/52/#":      {Channel: 5, Sends: true, Receiver: 52},
		"watchtower/channels/5/send/+/72":      {Channel: 5, Sends: true},
		"+/channels/5/#":                       {Channel: 5, Broadcasts: true, Sends: true},
		"watchtower/+/5/#":                     {Channel: 5, Broadcasts: true, Sends: true},
		"watchtower/channels/+/broadcast/+":    {Broadcasts: true},
		"watchtower/channels/5/broadcast":      {Channel: 5, Broadcasts: true, Short: true},
		"watchtower/channels/5/send":           {Channel: 5, Sends: true, Short: true},
		"watchtower/channels/#":                {},
		"watchtower/#":                         {},
		"#":                                    {},
		"+":                                    {},
		"+/+":                                  {},
		"+/b/#":                                {},
		"+/channels/0/#":                       {},
		"watchtower/me":                        {},
		"watchtower/members/+/+":               {},
		"watchtower/gateways/#":                {},
		"watchtower/homeassistant/#":           {},
		"watchtower/homeassistant/gw/#":        {},
		"watchtower/homeassistant/+/5/event":   {},
		"watchtower/homeassistant/gw/5/#":      {},
		"watchtower/me/#":                      {},
		"watchtower/members/5/gw":              {},
		"watchtower/members/5/#":               {},
		"watchtower/gateways/gw/+":             {},
		"watchtower/gateways/+/status":         {},
		"watchtower/gateways/gw/info/#":        {},
		"zigbee2mqtt/+/set":                    {},
		"watchtower2/channels/0/broadcast/+":   {},
	} {
		got, err := tree.ParseFilter(filter)
		require.Nil(t, err, filter)
		assert.Equal(t, want, got, filter)
	}
	for _, filter := range []string{
		"watchtower", "watchtower/channels", "watchtower/channels/+", "watchtower/channels/5", "watchtower/channels/0/#",
		"watchtower/channels/4294967296/#", "watchtower/channels/five/broadcast/+", "watchtower/channels/05/broadcast",
		"watchtower/channels/+/send", "watchtower/channels/5/said", "watchtower/channels/5/send/52", "watchtower/channels/5/shout/+",
		"watchtower/channels/5/broadcast/x", "watchtower/whatever", "watchtower/whatever/#",
		"watchtower/members", "watchtower/members/+", "watchtower/members/x/gw", "watchtower/members/0/gw", "watchtower/members/5/gw/x",
		"watchtower/gateways", "watchtower/gateways/gw", "watchtower/gateways/gw/foo", "watchtower/gateways/gw/status/x",
		"watchtower/gateways/a b/status", "watchtower/homeassistant/gw/5", "watchtower/homeassistant/gw/x/event",
		"watchtower/homeassistant", "watchtower/me/x", "watchtower/me/+",
	} {
		_, err := tree.ParseFilter(filter)
		assert.NotNil(t, err, filter)
	}
	deep := NewTree("home/watchtower", "gw")
	f, err := deep.ParseFilter("home/watchtower/channels/5/#")
	require.Nil(t, err)
	assert.Equal(t, Channel(5), f.Channel)
	f, err = deep.ParseFilter("home/#")
	require.Nil(t, err)
	assert.Zero(t, f)
}

func FuzzTopics(f *testing.F) {
	for _, s := range []string{"watchtower/channels/5/broadcast/72", "watchtower/channels/5/send/52/72", "watchtower/channels/+/#", "#", "a//b"} {
		f.Add(s)
	}
	tree := NewTree("watchtower", "gw")
	f.Fuzz(func(t *testing.T, s string) {
		place, a, err := tree.ParsePublish(s)
		if (place == Reserved) != (err != nil) {
			t.Fatalf("%q: place %d, error %v", s, place, err)
		}
		if place == OnChannel && a.Sender != 0 && a.ReceiverName == "" { // a full topic is the one that AppendTopic makes
			m := &Message{Type: a.Type, Channel: a.Channel, Receiver: a.Receiver, Sender: a.Sender}
			if got := string(tree.AppendTopic(nil, m)); got != s {
				t.Fatalf("%q is read as %+v, which is %q", s, a, got)
			}
			if fl, err := tree.ParseFilter(s); err != nil || fl.Channel != a.Channel {
				t.Fatalf("%q as a filter: %+v, %v", s, fl, err)
			}
		}
		if fl, err := tree.ParseFilter(s); err == nil && fl.Sends && !strings.Contains(s, "send") && !strings.ContainsAny(s, "+#") {
			t.Fatalf("%q matches sends", s)
		}
	})
}
