package homeassistant

import "slices"

// kind is a kind of entity: a section of a description, and what Home Assistant is told of
// each entity in it. A further kind is a further row of kinds.
type kind struct {
	section  string
	platform string   // of Home Assistant
	options  []option // the keys that an entity may have, besides those of every entity
	says     says
	told     bool                // the device is sent the key and an argument
	plain    bool                // it is no entity, and has no keys besides the options
	check    func(entity) *fault // of the options together; nil: there is nothing to check
	describe func(entity, wiring) []part
	fits     func(entity, any) bool // whether a value can be read; nil: any can
}

// says is how a kind's values reach Home Assistant.
type says int

const (
	nothing says = iota // it has no values
	states              // they are gathered; the entity needs its state
	echoes              // they are gathered; until the device has said one, what it was sent counts
	moments             // each counts once, at once: it is not gathered
)

// wiring are the topics of an entity.
type wiring struct {
	state string // where its values are
	heard bool   // the device has said a value, so Home Assistant waits for values
	tell  string // where the device is sent commands
}

// part is a component of an entity. Most have one, whose suffix is empty.
type part struct {
	suffix string
	component
}

func one(c component) []part { return []part{{component: c}} }

// kinds are all sections of a description but commands. Their order is the one in which
// keys that are sent something are given away.
var kinds = []*kind{
	{section: "sensors", platform: "sensor", says: states, check: checkSensor, describe: sensor, fits: fitsSensor, options: []option{
		templateOf("value"), textOf("unit", unitMost), textOf("state_class", textMost), wholeOf("expire_after", 0, 1, expireMost),
		choicesOf("options"), wholeOf("precision", -1, 0, 9), flagOf("force"),
	}},
	{section: "binary_sensors", platform: "binary_sensor", says: states, check: checkWords, describe: binarySensor, options: []option{
		wordOf("on", "on"), wordOf("off", "off"), wholeOf("off_delay", 0, 1, expireMost),
	}},
	{section: "switches", platform: "switch", says: echoes, told: true, check: checkWords, describe: toggle, options: []option{wordOf("on", "on"), wordOf("off", "off")}},
	{section: "numbers", platform: "number", says: echoes, told: true, check: checkNumber, describe: number, fits: fitsNumber, options: []option{
		amountOf("min", 0), amountOf("max", 100), amountOf("step", 1), textOf("unit", unitMost),
	}},
	{section: "selects", platform: "select", says: echoes, told: true, describe: selection, fits: fitsOption, options: []option{choicesOf("options").always()}},
	{section: "texts", platform: "text", says: echoes, told: true, describe: texts, options: []option{wholeOf("max", stateMost, 1, stateMost)}},
	{section: "lights", platform: "light", says: echoes, told: true, describe: light, options: []option{flagOf("brightness"), flagOf("color")}},
	{section: "covers", platform: "cover", says: echoes, told: true, describe: cover, options: []option{flagOf("position")}},
	{section: "valves", platform: "valve", says: echoes, told: true, describe: valve, options: []option{flagOf("position")}},
	{section: "locks", platform: "lock", says: echoes, told: true, describe: lock},
	{section: "fans", platform: "fan", says: echoes, told: true, describe: fan, options: []option{flagOf("speed")}},
	{section: "events", platform: "event", says: moments, describe: event, fits: fitsType, options: []option{wordsOf("types").always()}},
	{section: "triggers", platform: "device_automation", says: moments, plain: true, describe: trigger, fits: fitsType, options: []option{wordsOf("types").always()}},
	{section: "update", platform: "update", says: states, told: true, describe: update, options: []option{textOf("title", textMost)}},
	{section: "buttons", platform: "button", told: true, describe: button},
}

// commands is the section that is a list of words. Each is a button.
const commandsSection = "commands"

// kindOf returns the kind of a section, or nil.
func kindOf(section string) *kind {
	i := slices.IndexFunc(kinds, func(k *kind) bool { return k.section == section })
	if i < 0 {
		return nil
	}
	return kinds[i]
}

// entity is what a description says of one entity.
type entity struct {
	*kind
	key     string
	options map[string]any // by key; those that have a value
}

func (e entity) text(option string) string    { s, _ := e.options[option].(string); return s }
func (e entity) flag(option string) bool      { b, _ := e.options[option].(bool); return b }
func (e entity) whole(option string) int      { n, _ := e.options[option].(int); return n }
func (e entity) amount(option string) float64 { f, _ := e.options[option].(float64); return f }
func (e entity) list(option string) []string  { all, _ := e.options[option].([]string); return all }

// momentary reports whether each value counts once: it is neither gathered nor retained.
func (e entity) momentary() bool { return e.says == moments || e.whole("off_delay") > 0 }

// id is the entity's key in discovery. It has the platform in it, because an entity that
// changes its platform is another one.
func (e entity) id() string { return e.platform + "_" + e.key }
