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

// extras are the properties of MQTT 5 that a message carries to its receivers
// as they are (MQTT 5, 3.3.2.3). A nil pointer carries none.
type extras struct {
	formatGiven             bool
	format                  byte // payload format indicator
	contentType, responseTo string
	correlation             []byte
	user                    []packets.UserProperty
}

// carried returns what of a packet's properties goes on to the receivers.
// Without any it is nil, so that most messages keep nothing of their packet.
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

// properties returns them for a packet. The user properties may be appended to.
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

// What properties take besides their texts, and each user property.
const (
	extrasBytes = 112
	userBytes   = 48
)

// weight is about what they take of memory.
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

// hint reads the content hint off them.
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
