package homeassistant

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// depthMost bounds how deep a message may be nested before it is only text:
// Home Assistant's own parser gives up at some depth, and would lose the event.
const depthMost = 32

// fields returns the fields of a message that is a JSON object, else nil. They are
// made so that every parser takes them: a half surrogate becomes U+FFFD, a
// number that no double holds becomes text.
func fields(data []byte) map[string]any {
	if !startsObject(data) || !utf8.Valid(data) || !json.Valid(data) {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var all map[string]any
	if d.Decode(&all) != nil || !plain(all, depthMost) {
		return nil
	}
	return all
}

// plain mends the values in v, and reports whether it is not too deep.
func plain(v any, depth int) bool {
	if depth == 0 {
		return false
	}
	switch v := v.(type) {
	case map[string]any:
		for key, in := range v {
			if n, ok := in.(json.Number); ok {
				v[key] = number(n)
			} else if !plain(in, depth-1) {
				return false
			}
		}
	case []any:
		for i, in := range v {
			if n, ok := in.(json.Number); ok {
				v[i] = number(n)
			} else if !plain(in, depth-1) {
				return false
			}
		}
	}
	return true
}

func number(n json.Number) any {
	if _, err := strconv.ParseFloat(n.String(), 64); err != nil {
		return n.String()
	}
	return n
}
