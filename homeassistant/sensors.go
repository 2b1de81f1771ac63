package homeassistant

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
)

// classEnum is the device class of a sensor with options. It is not written in descriptions.
const classEnum = "enum"

// The device classes whose values are times.
const (
	classDate      = "date"
	classTimestamp = "timestamp"
	classUptime    = "uptime"
)

// templateOf is a template that a device brings.
func templateOf(key string) option {
	o := textOf(key, templateBytes)
	isText := o.read
	o.read = func(raw json.RawMessage) (any, string) {
		v, problem := isText(raw)
		if problem == "" {
			problem = checkTemplate(v.(string))
		}
		return v, problem
	}
	return o
}

// numeric reports whether Home Assistant takes a sensor's values for numbers only.
func (e entity) numeric() bool {
	if name := e.text("device_class"); name == classEnum || slices.Contains(classTimes, name) {
		return false
	}
	return e.text("device_class")+e.text("unit")+e.text("state_class") != "" || e.whole("precision") >= 0
}

// sensorTemplate returns the value template of a sensor: v is the value by the device's own
// template or by the key; what Home Assistant could not read is unknown.
func sensorTemplate(e entity) string {
	v := "{% set v = " + valueOf(e.key) + " %}"
	if own := e.text("value"); own != "" {
		v = "{% set v %}" + safeTemplate(own) + "{% endset %}{% set v = v | trim %}"
	}
	switch {
	case len(e.list("options")) > 0:
		return oneOf(v, e.list("options"))
	case e.text("device_class") == classDate:
		return v + "{% set t = v | as_datetime(none) %}{{ t.date().isoformat() if t else none }}"
	case slices.Contains(classTimes, e.text("device_class")):
		return v + "{% set t = v | as_datetime(none) %}{{ t.isoformat() if t and t.tzinfo else none }}"
	case e.numeric():
		return v + "{{ (v | string)[:255] if v | is_number and v is not boolean else none }}"
	}
	return v + "{% if v in " + literals(e.oddWords()) + " %}{% set v = '\"' ~ v ~ '\"' %}{% endif %}{{ (v | string)[:255] if v is not none and v != '' else none }}"
}

// oddWords are the texts that Home Assistant would not show as a state: they are put in quotes. A
// template says None for what is unknown.
func (e entity) oddWords() []string {
	if e.text("value") != "" {
		return []string{"unavailable", "unknown"}
	}
	return []string{"None", "unavailable", "unknown"}
}

// fitsSensor reports whether a value can be the state of a sensor.
func fitsSensor(e entity, v any) bool {
	switch {
	case e.text("value") != "" || v == nil: // its own template may read anything
		return true
	case len(e.list("options")) > 0:
		return fitsOption(e, v)
	case e.numeric():
		_, ok := finite(v)
		return ok
	}
	return true
}

func fitsNumber(e entity, v any) bool {
	f, ok := finite(v)
	return v == nil || ok && f >= e.amount("min") && f <= e.amount("max")
}

func fitsOption(e entity, v any) bool {
	return v == nil || slices.Contains(e.list("options"), asText(v))
}

func fitsType(e entity, v any) bool { return v == nil || slices.Contains(e.list("types"), asText(v)) }

// finite returns the number that a value is, or that it holds as text.
func finite(v any) (float64, bool) {
	var text string
	switch v := v.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = strings.TrimSpace(v)
	}
	f, err := strconv.ParseFloat(text, 64)
	return f, err == nil && !math.IsInf(f, 0) && !math.IsNaN(f) && !strings.ContainsAny(text, "xXpP_")
}

func asText(v any) string {
	switch v := v.(type) {
	case json.Number:
		return v.String()
	case string:
		return v
	}
	return ""
}
