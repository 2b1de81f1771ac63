package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bridge"
)

func topics() []*bridge.TopicMessage {
	now := time.Unix(1_700_000_000, 123).Local()
	return []*bridge.TopicMessage{
		{Topic: "a", Payload: []byte{}},
		{Topic: "cmnd/valve/POWER", Payload: []byte("ON"), QoS: 1, Mapped: true},
		{Topic: "tele/attic lamp/.>*/STATE", Payload: []byte("on"), QoS: 1, Retain: true, Expires: now.Add(time.Minute), Stamp: 1 << 63},
		{Topic: "gone", Payload: []byte{}, Retain: true, Stamp: 7, Own: true},
		{Topic: strings.Repeat("é", 32767), Payload: []byte{0, 1, 2}, QoS: 2, More: &bridge.TopicProperties{FormatGiven: true}},
		{Topic: "tele/x", Payload: []byte("1"), Groups: []bridge.GroupPick{{At: 3, Filter: "$share/g/tele/#"}, {At: 255, Filter: "$share/h/+/x"}}},
		{Topic: "ask", Payload: []byte("{}"), More: &bridge.TopicProperties{
			FormatGiven: true, Format: 1, ContentType: "application/json", ResponseTopic: "answer/" + strings.Repeat("x", 300), Correlation: []byte{0, 255},
			User: [][2]string{{"k", "v"}, {"k", ""}, {strings.Repeat("y", 1000), "w"}},
		}},
	}
}

func TestATopicMessageIsTheSameElsewhere(t *testing.T) {
	now := time.Unix(1_700_000_000, 123).Local()
	for _, m := range topics() {
		left := topicLifeLeft(m, now)
		k, body, rest, ok := readEntry(appendTopic(nil, m, left))
		require.True(t, ok)
		assert.Empty(t, rest)
		assert.Equal(t, kindTopic, k)
		assert.Len(t, body, topicBytes(m, left))
		assert.Equal(t, m, readTopic(body, spelled{}, now))
		assert.Equal(t, m, DecodeTopic(EncodeTopic(m, now), now))
		if len(body) < 1000 {
			for n := range body[:len(body)-len(m.Payload)] {
				assert.Nil(t, readTopic(body[:n], spelled{}, now), "cut at %d", n)
			}
		}
	}
}
