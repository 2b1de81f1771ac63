package config

import "github.com/spf13/pflag"

// AddFlags defines a flag for every setting, and one for its alias if it has one. Both
// set the same value; then help shows only the alias. Load reads the values, and reports
// all wrong ones at once.
func AddFlags(flags *pflag.FlagSet) {
	var c Config
	for _, s := range settings(&c) {
		v := &flagValue{text: s.Default, kind: s.value.kind()}
		define := func(name string) {
			f := flags.VarPF(v, name, "", s.Help())
			if v.kind == "bool" {
				f.NoOptDefVal = "true"
			}
		}
		define(s.Flag)
		if s.Alias != "" {
			define(s.Alias)
			flags.Lookup(s.Flag).Hidden = true
		}
	}
}

// given returns the name and the text of the flag that sets a setting. OK is false if
// no flag does.
func given(flags *pflag.FlagSet, s Setting) (name, text string, ok bool) {
	if flags == nil {
		return "", "", false
	}
	for _, name := range []string{s.Alias, s.Flag} {
		if name != "" && flags.Changed(name) {
			return name, flags.Lookup(name).Value.String(), true
		}
	}
	return "", "", false
}

// flagValue keeps a flag's text for Load.
type flagValue struct {
	text, kind string
	set        bool
}

func (v *flagValue) String() string { return v.text }
func (v *flagValue) Type() string   { return v.kind }

// Set takes the text. If the flag of a list is given several times, the lists are joined.
func (v *flagValue) Set(text string) error {
	if v.kind == "list" && v.set {
		text = v.text + "," + text
	}
	v.text, v.set = text, true
	return nil
}
