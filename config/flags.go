package config

import "github.com/spf13/pflag"

// AddFlags defines a flag for every setting, and for its alias. Both set the
// same value; the one with the alias is left out of help. Values are read by
// Load, which reports all that are wrong at once.
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

// given returns the flag by which a setting was given, and its text.
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

// Set takes the text. A list that is given several times is one longer list.
func (v *flagValue) Set(text string) error {
	if v.kind == "list" && v.set {
		text = v.text + "," + text
	}
	v.text, v.set = text, true
	return nil
}
