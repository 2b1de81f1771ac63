package homeassistant

import (
	_ "embed" // for classes.json
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
)

// classesJSON is Home Assistant's own table of device classes. classes.py makes it.
//
//go:embed classes.json
var classesJSON []byte

// class is a device class: its units ("" is none; nil: any) and its state classes.
type class struct{ Units, States []string }

// classTable is what classesJSON holds.
type classTable struct {
	Version      string                      // of Home Assistant
	Spellings    map[string]string           // of units that have two, with the one that counts
	StateClasses map[string][]string         `json:"state_classes"` // with their units; empty: any
	Classes      map[string]map[string]class // by platform and name; a platform that is not there has none
}

var classes = sync.OnceValue(func() (t classTable) {
	if err := json.Unmarshal(classesJSON, &t); err != nil {
		panic("classes.json: " + err.Error()) // it is a part of the program, and tested
	}
	return t
})

// classTimes are the classes of sensors whose values are dates or times.
var classTimes = []string{classDate, classTimestamp, classUptime}

// unitOf returns a unit as Home Assistant writes it. A keyboard may give the sign µ, or the
// Greek letter μ, which is Home Assistant's.
func unitOf(unit string) string {
	if other, ok := classes().Spellings[unit]; ok {
		return other
	}
	return strings.ReplaceAll(unit, "µ", "μ")
}

// checkClass checks that an entity's device class is one of its platform, and allows its unit.
func checkClass(e entity) *fault {
	name, unit := e.text("device_class"), unitOf(e.text("unit"))
	if name == "" {
		return nil
	}
	all := classes().Classes[e.platform]
	c, known := all[name]
	switch {
	case len(all) == 0:
		return wrong("device_class", "%s have none", e.section)
	case !known:
		return wrong("device_class", "must be one of %s", strings.Join(slices.Sorted(maps.Keys(all)), ", "))
	case c.Units == nil || slices.Contains(c.Units, unit):
		return nil
	case len(c.Units) == 1 && c.Units[0] == "":
		return wrong("unit", "%s has none", name)
	}
	return wrong("unit", "must be one of %s for %s", strings.TrimSpace(strings.Join(c.Units, " ")), name)
}

// checkSensor checks a sensor's options and classes by Home Assistant's rules.
func checkSensor(e entity) *fault {
	name, state, unit := e.text("device_class"), e.text("state_class"), unitOf(e.text("unit"))
	enumerated := len(e.list("options")) > 0
	units, known := classes().StateClasses[state]
	switch {
	case state != "" && !known:
		return wrong("state_class", "must be one of %s", strings.Join(slices.Sorted(maps.Keys(classes().StateClasses)), ", "))
	case enumerated && name != "" && name != classEnum:
		return wrong("device_class", "cannot be %s with options", name)
	case enumerated && unit != "":
		return wrong("unit", "cannot be there with options")
	case enumerated && state != "":
		return wrong("state_class", "cannot be there with options")
	case name == classEnum && !enumerated:
		return wrong("options", "must be there for enum")
	case len(units) > 0 && !slices.Contains(units, unit):
		return wrong("unit", "must be %s with the state class %s", strings.Join(units, " or "), state)
	case slices.Contains(classTimes, name) && (unit != "" || e.whole("precision") >= 0):
		return wrong("unit", "%s has none, nor a precision", name)
	case name != "" && state != "" && !slices.Contains(classes().Classes[e.platform][name].States, state):
		return wrong("state_class", "%s cannot have %s", name, state)
	}
	return nil
}

// checkNumber checks the range of a number.
func checkNumber(e entity) *fault {
	switch {
	case e.amount("min") >= e.amount("max"):
		return wrong("max", "must be more than min")
	case e.amount("step") < 0.001:
		return wrong("step", "must be at least 0.001")
	}
	return nil
}
