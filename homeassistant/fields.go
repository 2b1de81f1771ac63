package homeassistant

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strconv"
	"unicode/utf8"
)

// noNumber is what C prints for a number that is none, where JSON has a value.
var noNumber = regexp.MustCompile(`(?i)([:\[,]\s*)(-?(?:nan|inf(?:inity)?))(\s*[,}\]])`)

// quoteNaN makes texts of such numbers, so that the rest of a sketch's message can be read.
// The message is no JSON, so what looks so within a text is no matter: then it stays none, or
// is read with quotes within the text.
func quoteNaN(data []byte) []byte { return noNumber.ReplaceAll(data, []byte(`$1"$2"$3`)) }

// depthMost is the deepest nesting of a message whose fields are read. A deeper one is only
// text: Home Assistant's own parser has a limit, and would lose the event.
const depthMost = 32

// fields returns the fields of a message that is a JSON object, else nil. It changes them
// so that every parser can read them: a half surrogate becomes U+FFFD, a number beyond the
// range of a double becomes text.
func fields(data []byte) map[string]any {
	if !startsObject(data) || !utf8.Valid(data) {
		return nil
	}
	if !json.Valid(data) {
		if data = quoteNaN(data); !json.Valid(data) {
			return nil
		}
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var all map[string]any
	if d.Decode(&all) != nil || !plain(all, depthMost) {
		return nil
	}
	return all
}

// plain changes the numbers in v where needed, and reports whether v is not too deep.
func plain(v any, depth int) bool {
	if depth == 0 {
		return false
	}
	switch v := v.(type) {
	case map[string]any:
		for key, in := range v {
			if n, ok := in.(json.Number); ok {
				v[key] = readable(n)
			} else if !plain(in, depth-1) {
				return false
			}
		}
	case []any:
		for i, in := range v {
			if n, ok := in.(json.Number); ok {
				v[i] = readable(n)
			} else if !plain(in, depth-1) {
				return false
			}
		}
	}
	return true
}

// readable returns a number that every parser can read, or its text.
func readable(n json.Number) any {
	if _, err := strconv.ParseFloat(n.String(), 64); err != nil {
		return n.String()
	}
	return n
}
