package mqtt

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/mochi-mqtt/server/v2/packets"

	"watchtower/bridge"
	"watchtower/intake"
)

// overLimit is a request that exceeds a configured limit. It is counted with the reason
// limit, and logged with the setting's name.
type overLimit struct{ what, setting string }

func (e overLimit) Error() string { return fmt.Sprintf("%s (%s)", e.what, e.setting) }

var (
	errTooLarge          = overLimit{"packet too large", "mqtt.max_packet_bytes"}
	errSessions          = overLimit{"too many MQTT sessions", "limits.mqtt_sessions"}
	errSubscriptions     = overLimit{"too many subscriptions", "limits.mqtt_subscriptions"}
	errSubscriptionBytes = overLimit{"subscriptions take too much memory", "limits.mqtt_subscription_bytes"}
	errRetained          = overLimit{"too many retained messages", "limits.mqtt_retained"}
	errRetainedBytes     = overLimit{"retained messages take too much memory", "limits.mqtt_retained_bytes"}
	errWills             = overLimit{"the wills of all clients together take too much memory", "limits.mqtt_queue_bytes"}
	errQueues            = overLimit{"the queues of all clients together are full", "limits.mqtt_queue_bytes"}
	errNoConnect         = overLimit{"no CONNECT in time", "mqtt.connect_timeout"}
)

var (
	errAliases    = packets.Code{Code: packets.ErrQuotaExceeded.Code, Reason: "the topics of all topic aliases take more than 16 KiB"}
	errUnfinished = packets.Code{Code: packets.ErrQuotaExceeded.Code, Reason: "too many packets are not complete (" + intake.UnfinishedSetting + ")"}
	errFault      = errors.New("the gateway failed")
	errStopping   = errors.New("the gateway is stopping")
	errUnread     = errors.New("the client does not read its answers")
	errTopic      = errors.New("topic: names the broker's own, or nothing")
	errDenied     = errors.New("topic: the user's access list does not allow it (users, acl)")
	errOwn        = errors.New("topic: the gateway alone publishes there")
	errLevels     = fmt.Errorf("topic: has more than %d levels", topicLevels)
	errFuture     = errors.New("a retained message of another gateway is dropped: by its gateway's clock it is more than a day newer than now")
	errDamaged    = errors.New("damaged") // a row on disk
)

// topicLevels bounds the levels of a topic or a filter, and so the cost of their trees.
const topicLevels = 200

// reasonOf is the MQTT 5 reason code of a refused publish or subscription.
func reasonOf(refusal error) packets.Code {
	var limit overLimit
	var fault *bridge.Error
	switch {
	case errors.As(refusal, new(*bridge.Unconfirmed)):
		return packets.CodeNoMatchingSubscribers // a success, which older clients take for delivered
	case errors.As(refusal, &limit), errors.As(refusal, &fault) && fault.Code == bridge.TooManyRequests:
		return packets.ErrQuotaExceeded
	case errors.As(refusal, &fault) && fault.Code == bridge.UnjoinedReceiver:
		return packets.CodeNoMatchingSubscribers // on 0x87, clients disconnect and connect again
	case errors.Is(refusal, errLevels):
		return packets.ErrTopicNameInvalid
	}
	return packets.ErrNotAuthorized
}

// dropReason is the reason with which a refused publish is counted.
func dropReason(refusal error) bridge.Reason {
	var limit overLimit
	if errors.As(refusal, &limit) {
		return bridge.Limit
	}
	return bridge.Refused
}

// isMalformed reports whether an error was caused by a bad packet.
func isMalformed(err error) bool {
	var known packets.Code
	return errors.As(err, &known)
}

func isReset(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && !op.Timeout()
}

// isUnanswered reports whether the system gave a connection up whose peer acknowledges nothing.
func isUnanswered(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Timeout()
}

// departure is why a client left, by the error that ended its read loop.
func departure(err error) bridge.Departure {
	switch {
	case err == nil:
		return bridge.LeftByGoodbye
	case errors.Is(err, errStopping):
		return bridge.LeftUnnoticed
	case errors.Is(err, os.ErrDeadlineExceeded), isUnanswered(err):
		return bridge.LeftBySilence
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed), isReset(err):
		return bridge.LeftByLoss
	}
	return bridge.LeftByMistake
}

// code is the reason code that an MQTT 5 client gets when its connection ends.
func code(err error) packets.Code {
	var known packets.Code
	switch {
	case errors.As(err, &known):
		return known
	case errors.Is(err, errTooLarge):
		return packets.ErrPacketTooLarge
	case errors.Is(err, intake.ErrFull):
		return errUnfinished
	case errors.Is(err, errStopping):
		return packets.ErrServerShuttingDown
	case errors.Is(err, errFault):
		return packets.ErrImplementationSpecificError
	case errors.Is(err, os.ErrDeadlineExceeded):
		return packets.ErrKeepAliveTimeout
	}
	return packets.ErrUnspecifiedError
}

// aliasMax is how many topic aliases a client may set (MQTT 5, 3.3.2.3.4).
const aliasMax = 64

// Superseded is the reason of another gateway's retained message that came when a newer one of its
// topic had been delivered.
var Superseded = bridge.NewReason("superseded")

// Protocol is MQTT as the hub knows it.
var Protocol = bridge.NewProtocol("mqtt")
