package history

import (
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// Since says from where on a receiver wants messages.
type Since struct {
	all bool
	id  ulid.ULID     // the last message that the receiver has; zero: none
	at  *Position     // where the receiver's stream began
	age time.Duration // if there is none of the others
}

// ParseSince reads what a client says: the id of a message, a position, an age such as
// 10m, or all. It reports false for anything else.
func ParseSince(text string) (Since, bool) {
	if text == "all" {
		return Since{all: true}, true
	}
	if id, err := ulid.ParseStrict(text); err == nil && id != (ulid.ULID{}) {
		return Since{id: id}, true
	}
	if at, ok := parsePosition(text); ok {
		return Since{at: &at}, true
	}
	age, err := time.ParseDuration(text)
	return Since{age: age}, err == nil && age > 0
}

// SinceAge is an age, of more than 0.
func SinceAge(age time.Duration) Since { return Since{age: max(age, 1)} }

// SinceEvent reads the id of the last event that a client has. Some libraries quote it.
// An id that is not ours is no error, which would shut such a client out for good. It
// counts as an unknown position: the client is told of a gap.
func SinceEvent(last string) Since {
	last = strings.Trim(last, "\" ")
	if id, err := ulid.ParseStrict(last); err == nil && id != (ulid.ULID{}) {
		return Since{id: id}
	}
	at, _ := parsePosition(last)
	return Since{at: &at}
}

// Position is a place in the history: where a stream began that has had no message yet.
// Positions stay good over a regular stop, and over no other.
type Position struct {
	run, number uint64
}

func (p Position) String() string {
	return strconv.FormatUint(p.run, 36) + "-" + strconv.FormatUint(p.number, 36)
}

func parsePosition(text string) (Position, bool) {
	run, number, found := strings.Cut(text, "-")
	r, err1 := strconv.ParseUint(run, 36, 64)
	n, err2 := strconv.ParseUint(number, 36, 64)
	return Position{r, n}, found && err1 == nil && err2 == nil
}
