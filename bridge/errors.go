package bridge

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

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
	NameHasKey       Code = "name-has-key"
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
	NotShared        Code = "not-shared"
	InvalidField     Code = "invalid-field"
	TooManyRequests  Code = "too-many-requests"
	NotProved        Code = "not-proved"
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

// shownBytes is how many bytes of a wrong value an answer repeats.
const shownBytes = 80

// Shorten returns a value as it may be shown in an answer.
func Shorten[S ~string | ~[]byte](value S) string {
	text := string(value)
	if len(text) > shownBytes {
		cut := shownBytes
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut] + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
