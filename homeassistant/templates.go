package homeassistant

import (
	"slices"
	"strconv"
	"strings"
)

// valueOf is the expression of a device's value: none until the device has said it. The
// payload is an object with the values by key.
func valueOf(key string) string {
	return "(value_json | default({}))['" + key + "'] | default(none)"
}

// asWord sets w to the value as a word in lower case.
func asWord(key string) string {
	return "{% set w = " + valueOf(key) + " | string | lower | trim %}"
}

// send is the command that has Home Assistant's value as its argument.
func send(key string) string { return key + " {{ value }}" }

// onOff reads a value that is on or off, by the own words or by the usual ones. Else is the
// expression for any other value.
func onOff(key, on, off, other string) string {
	ons, offs := readings(on, off)
	return asWord(key) + "{{ 'ON' if w in " + literals(ons) + " else 'OFF' if w in " + literals(offs) + " else " + other + " }}"
}

// readings lists what is read as on and as off. If an own word usually means the opposite,
// such as 0 for on, only the own words count.
func readings(on, off string) (ons, offs []string) {
	on, off = strings.ToLower(on), strings.ToLower(off)
	ons, offs = []string{"on", "1", "true"}, []string{"off", "0", "false"}
	if slices.Contains(offs, on) || slices.Contains(ons, off) {
		return []string{on}, []string{off}
	}
	if !slices.Contains(ons, on) {
		ons = append(ons, on)
	}
	if !slices.Contains(offs, off) {
		offs = append(offs, off)
	}
	return ons, offs
}

// within reads a number from least to most.
func within(key string, least, most float64) string {
	return "{% set v = " + valueOf(key) + " %}{{ v if v | is_number and v is not boolean and " +
		decimal(least) + " <= v | float <= " + decimal(most) + " else none }}"
}

// oneOf reads v, which the prefix sets, if it is one of some texts.
func oneOf(prefix string, all []string) string {
	return prefix + "{{ v if v | string in " + literals(all) + " else none }}"
}

// lightState reads the first word of a value such as "128 #ff8000" or "on #ff8000"; 0 is off.
func lightState(key string) string {
	return asWord(key) + "{% set b = w.split(' ')[0] %}" +
		"{{ 'OFF' if w in ['off', 'false'] or b | is_number and b | float <= 0 else 'ON' if b in ['on', 'true'] or b | is_number or b[:1] == '#' else none }}"
}

// colorPart reads the red, green or blue (0, 1 or 2) of a value such as "128 #ff8000".
func colorPart(key string, i int) string {
	from := strconv.Itoa(2 * i)
	to := strconv.Itoa(2*i + 2)
	return asWord(key) + "{% set c = w.split('#')[1] | default('') %}{{ c[" + from + ":" + to + "] | int(0, 16) if c | length == 6 else none }}"
}

// moving reads whether a value such as 60, "off" or "on" is on; 0 is off.
func moving(key string) string {
	return asWord(key) + "{{ 'OFF' if w in ['off', 'false'] or w | is_number and w | float <= 0 else 'ON' if w in ['on', 'true'] or w | is_number else none }}"
}

// percent reads a whole number from 0 to 100, or the word of one of the ends; any other value
// says nothing.
func percent(key string) string {
	return asWord(key) + "{% set p = {'open': '100', 'close': '0', 'closed': '0'}.get(w, w) %}" +
		"{{ p | float | round | int if p | is_number and 0 <= p | float <= 100 else '' }}"
}

// position reads the words of a cover or valve; a number is open, and 0 is closed.
func position(key string, numbers bool, words string) string {
	ends := asWord(key) + "{% set w = {'close': 'closed', 'stop': 'stopped'}.get(w, w) %}"
	if numbers {
		ends += "{% if w | is_number %}{% set w = 'open' if w | float > 0 else 'closed' %}{% endif %}"
	}
	return ends + "{{ w if w in " + words + " else none }}"
}

// valvePosition reads a number from 0 to 100, or a word.
func valvePosition(key string) string {
	return asWord(key) + "{% set w = {'open': '100', 'close': '0', 'closed': '0'}.get(w, w) %}" +
		"{{ w if w in ['opening', 'closing'] else w | float | round | int if w | is_number and 0 <= w | float <= 100 else none }}"
}

// versions reads {"installed":"1.0","latest":"1.1"}, a version alone, or the word that was
// sent, which means that the device is at it.
func versions(key string) string {
	return "{% set v = " + valueOf(key) + " %}{% if v is mapping and v.installed %}" +
		"{{ {'installed_version': v.installed | string, 'latest_version': (v.latest or v.installed) | string, 'in_progress': false} | tojson }}" +
		"{% elif v is mapping and v.latest %}{{ {'latest_version': v.latest | string} | tojson }}" +
		"{% elif v == 'install' %}{{ {'in_progress': true} | tojson }}" +
		"{% elif v is string and v or v is number %}{{ {'installed_version': v | string, 'in_progress': false} | tojson }}{% endif %}"
}

// literals writes a list of texts as the template language does.
func literals(all []string) string {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = literal(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

var quoting = strings.NewReplacer(`\`, `\\`, `'`, `\'`, `{`, `\x7b`, `}`, `\x7d`, `%`, `\x25`, `#`, `\x23`)

// literal writes a text as the template language does. Nothing in it can begin or end a
// part of a template.
func literal(s string) string { return "'" + quoting.Replace(s) + "'" }

// decimal writes a number without an exponent.
func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
