package session

import (
	"bytes"
	"errors"

	"watchtower/bridge"
	"watchtower/wire"
	"watchtower/wire/frame"
)

// verbs executes requests by the hub's methods.
type verbs struct {
	hub  *bridge.Hub
	via  bridge.Protocol
	wait bool // publishing may be slowed down
}

// lose counts n messages that a device did not get.
func (v verbs) lose(d *bridge.Device, why bridge.Reason, n int) {
	if n > 0 {
		v.hub.Counters().Lose(d.Sender(), v.via, why, n)
	}
}

// repeatable reports whether a request is executed again when it is repeated.
func repeatable(op frame.Op) bool { return op == frame.Channels || op == frame.Members }

// execute executes a request, except one about the session itself. For an l or u it
// appends the result, room entries at most, to list; for an m too, while it waits.
func (v verbs) execute(d *bridge.Device, f frame.Frame, room int, list []byte) (frame.Code, []byte) {
	switch f.Op {
	case frame.Join, frame.Leave:
		return v.move(d, f), list
	case frame.Channels:
		start, err := frame.ParseStart(f.Body)
		if err != nil {
			return frame.BadRequest, list
		}
		channels, more := v.hub.Directory().ChannelsFrom(bridge.Channel(start), room)
		return frame.OK, appendList(list, channels, more)
	case frame.Members:
		channel, start, err := frame.ParseMembers(f.Body)
		if err != nil || channel == 0 {
			return frame.BadRequest, list
		}
		ids, more, ok := v.hub.Directory().MemberIDs(d.Sender(), bridge.Channel(channel), bridge.SenderID(start), room)
		if !ok {
			return frame.NotJoined, list
		}
		return frame.OK, appendList(list, ids, more)
	case frame.Broadcast, frame.Send:
		return v.publish(d, f, list)
	}
	return frame.NotSupported, list
}

func appendList[T ~uint32](b []byte, ids []T, more bool) []byte {
	if more {
		return wire.AppendIDs(append(b, 1), ids...)
	}
	return wire.AppendIDs(append(b, 0), ids...)
}

// move joins or leaves.
func (v verbs) move(d *bridge.Device, f frame.Frame) frame.Code {
	ids, err := frame.ParseIDs(f.Body)
	channels, ok := convert[bridge.Channel](ids)
	if err != nil || !ok {
		return frame.BadRequest
	}
	if f.Op == frame.Leave {
		d.Leave(channels...)
		return frame.OK
	}
	return codeOf(d.Join(channels...))
}

// publish broadcasts or sends. The data is copied: the message outlives the
// buffer that it was read into. The result of a message that waits to be confirmed is how
// many have said it, and how many are wanted.
func (v verbs) publish(d *bridge.Device, f frame.Frame, list []byte) (frame.Code, []byte) {
	p := bridge.Publication{Via: v.via, Wait: v.wait, Voice: d.Hold().Voice()}
	var channels, receivers wire.IDs
	var data []byte
	var err error
	if f.Op == frame.Send {
		p.Type = bridge.Send
		channels, receivers, data, err = frame.ParseSend(f.Body)
	} else {
		channels, data, err = frame.ParseBroadcast(f.Body)
	}
	if err != nil || f.Hint() > byte(bridge.JSON) {
		return frame.BadRequest, list
	}
	var ok bool
	if p.Channels, ok = convert[bridge.Channel](channels); !ok {
		return frame.BadRequest, list
	}
	if p.Type == bridge.Send {
		if p.Receivers, ok = convert[bridge.SenderID](receivers); !ok {
			return frame.BadRequest, list
		}
	}
	p.Content = bridge.Content{Data: bytes.Clone(data), Hint: bridge.Hint(f.Hint())}
	_, err = v.hub.Publish(d.Sender(), p)
	var waiting *bridge.Unconfirmed
	if errors.As(err, &waiting) {
		return frame.OK, append(list, byte(waiting.Confirmed), byte(waiting.Of))
	}
	return codeOf(err), list
}

// convert reads ids. It reports false if there is none, or if one is 0.
func convert[T ~uint32](ids wire.IDs) ([]T, bool) {
	out := make([]T, ids.Len())
	for i := range out {
		if out[i] = T(ids.At(i)); out[i] == 0 {
			return nil, false
		}
	}
	return out, len(out) > 0
}

// codeOf is the error code for a refusal of the hub.
func codeOf(err error) frame.Code {
	if err == nil {
		return frame.OK
	}
	var e *bridge.Error
	if !errors.As(err, &e) {
		return frame.SlowDown
	}
	switch e.Code {
	case bridge.InvalidSender:
		return frame.UnknownID
	case bridge.UnjoinedChannel, bridge.NotProved:
		return frame.NotJoined
	case bridge.UnjoinedReceiver:
		return frame.NotOnChannel
	case bridge.TooManyChannels, bridge.TooManySenders:
		return frame.Full
	case bridge.NameHasKey:
		return frame.NameHasKey
	case bridge.NameProtected:
		return frame.NotSupported
	case bridge.BusFailed, bridge.StoreFailed, bridge.NotShared, bridge.TooManyRequests:
		return frame.SlowDown
	}
	return frame.BadRequest
}
