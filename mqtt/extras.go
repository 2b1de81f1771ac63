package mqtt

import (
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge"
)

const (
	contentJSON  = "application/json"
	contentPlain = "text/plain"
	contentText  = "text/plain; charset=utf-8"
)

// extras are the MQTT 5 properties that go to the receivers unchanged (MQTT 5, 3.3.2.3).
// A nil pointer: there are none.
type extras struct {
	formatGiven             bool
	format                  byte // payload format indicator
	contentType, responseTo string
	correlation             []byte
	user                    []packets.UserProperty
}

// carried returns the properties of a packet that go on to the receivers; nil: there are
// none, so that most messages keep nothing of their packet.
func carried(p *packets.Properties) *extras {
	if !p.PayloadFormatFlag && p.ContentType == "" && p.ResponseTopic == "" && len(p.CorrelationData) == 0 && len(p.User) == 0 {
		return nil
	}
	return &extras{
		formatGiven: p.PayloadFormatFlag, format: p.PayloadFormat,
		contentType: p.ContentType, responseTo: p.ResponseTopic,
		correlation: p.CorrelationData, user: p.User,
	}
}

// properties returns them for a packet. The caller may append user properties.
func (x *extras) properties() packets.Properties {
	var p packets.Properties
	if x != nil {
		p.PayloadFormatFlag, p.PayloadFormat = x.formatGiven, x.format
		p.ContentType, p.ResponseTopic = x.contentType, x.responseTo
		p.CorrelationData = x.correlation
		p.User = x.user[:len(x.user):len(x.user)]
	}
	return p
}

// The memory of extras and of each user property, without their texts, in bytes.
const (
	extrasBytes = 112
	userBytes   = 48
)

// weight is their memory in bytes, about.
func (x *extras) weight() int {
	if x == nil {
		return 0
	}
	n := extrasBytes + len(x.contentType) + len(x.responseTo) + len(x.correlation)
	for _, u := range x.user {
		n += userBytes + len(u.Key) + len(u.Val)
	}
	return n
}

// hint derives the content hint from the content type or the payload format.
func (x *extras) hint() bridge.Hint {
	if x == nil {
		return bridge.Opaque
	}
	media, _, _ := strings.Cut(x.contentType, ";")
	switch strings.ToLower(strings.TrimSpace(media)) {
	case contentJSON:
		return bridge.JSON
	case contentPlain:
		return bridge.Text
	}
	if x.formatGiven && x.format == 1 {
		return bridge.Text
	}
	return bridge.Opaque
}
