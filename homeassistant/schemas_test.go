package homeassistant_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
)

// rule is what Home Assistant's schema says of a key. The value is of one of these kinds, or one
// of these words; if there are neither, it can be anything.
type rule struct {
	Required bool
	Is       []string
	Of       []string
}

// rules are those of the keys of an object. It has no others: Home Assistant refuses them, or
// drops them silently.
type rules map[string]rule

// schemas are Home Assistant's own, as testdata/homeassistant/schemas.py has read them there.
// Nothing in them comes from the code that builds the payloads.
var schemas = sync.OnceValue(func() (t struct {
	Root, Device, Origin rules
	Platforms            map[string]rules
}) {
	b, err := os.ReadFile("../testdata/homeassistant/schemas.json")
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	if err != nil {
		panic(err)
	}
	return t
})

// broken lists which rules an object breaks.
func (all rules) broken(where string, got map[string]any) (faults []string) {
	for _, key := range slices.Sorted(maps.Keys(all)) {
		v, there := got[key]
		switch r := all[key]; {
		case !there && r.Required:
			faults = append(faults, fmt.Sprintf("%s: no %s", where, key))
		case there && !r.takes(v):
			faults = append(faults, fmt.Sprintf("%s: %s is %v", where, key, v))
		}
	}
	for key := range got {
		if _, known := all[key]; !known {
			faults = append(faults, fmt.Sprintf("%s has the key %s", where, key))
		}
	}
	return faults
}

func (r rule) takes(v any) bool {
	text, isText := v.(string)
	return len(r.Is)+len(r.Of) == 0 || isText && slices.Contains(r.Of, text) || slices.ContainsFunc(r.Is, func(kind string) bool { return isOf(kind, v) })
}

// isOf reports whether a value is of a kind.
func isOf(kind string, v any) (is bool) {
	text, isText := v.(string)
	number, isNumber := v.(float64)
	whole := isNumber && number == math.Trunc(number) && number >= 0
	switch kind {
	case "null":
		return v == nil
	case "text", "template":
		return isText
	case "topic":
		return text != "" && !strings.ContainsAny(text, "+#~\x00")
	case "icon":
		return icon.MatchString(text)
	case "url":
		return strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://")
	case "boolean":
		_, is = v.(bool)
	case "whole", "seconds":
		return whole
	case "qos":
		return whole && number <= 2
	case "number":
		return isNumber
	case "list":
		_, is = v.([]any)
	case "object":
		_, is = v.(map[string]any)
	}
	return is
}
