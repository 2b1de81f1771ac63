package history

import (
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"
)

// Since says from where on somebody wants to hear what was said.
type Since struct {
	all bool
	id  ulid.ULID     // the last message that he has; zero: none
	at  *Position     // where his stream began
	age time.Duration // if there is none of the others
}

// ParseSince reads what a client says: the id of a message, a place, an age such as 10m,
// or all. It reports false for anything else.
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

// SinceEvent is where an event's id stands. Some libraries quote it. One that is none of
// ours is no fault of who comes back with it, and would shut a library out for good:
// nobody knows what was missed, and that is said.
func SinceEvent(last string) Since {
	last = strings.Trim(last, "\" ")
	if id, err := ulid.ParseStrict(last); err == nil && id != (ulid.ULID{}) {
		return Since{id: id}
	}
	at, _ := parsePosition(last)
	return Since{at: &at}
}

// Position is a place in the history: where a stream began of which no message has
// come yet. What a gateway knows of places ends with it, if it does not end in good order.
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
