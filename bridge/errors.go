package bridge

import "fmt"

// Code says what kind of fault an Error is. The values are stable: HTTP shows
// them as the type of a problem document.
type Code string

// The faults of the verbs.
const (
	InvalidSecretKey Code = "invalid-secret-key"
	InvalidSender    Code = "invalid-sender"
	InvalidToken     Code = "invalid-token"
	PassExpired      Code = "token-expired"
	NameProtected    Code = "name-protected"
	InvalidName      Code = "invalid-name"
	InvalidChannel   Code = "invalid-channel"
	UnjoinedChannel  Code = "unjoined-channel"
	TooManyChannels  Code = "too-many-channels"
	TooManySenders   Code = "too-many-senders"
	InvalidReceiver  Code = "invalid-receiver"
	UnjoinedReceiver Code = "unjoined-receiver"
	MessageTooLarge  Code = "message-too-large"
	BusFailed        Code = "bus-failed"
	StoreFailed      Code = "store-failed"
)

// Error is a refusal that may be shown to the client: it names the field at
// fault, and holds nothing internal.
type Error struct {
	Code   Code
	Field  string // the request's field, such as "channels[1]"
	Detail string // what is wrong with it, and the way out
}

func (e *Error) Error() string {
	if e.Field == "" {
		return e.Detail
	}
	return e.Field + ": " + e.Detail
}

func fault(code Code, field, format string, args ...any) *Error {
	return &Error{Code: code, Field: field, Detail: fmt.Sprintf(format, args...)}
}
