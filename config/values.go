package config

import (
	"maps"
	"strconv"
	"strings"
)

// Source says where the value of a setting comes from.
type Source struct {
	From string // flag, environment, file or default
	Line int    // in the file; 0: it is not from there
}

// Value is a setting with its value in a Config.
type Value struct {
	Setting
	Source
	Text string // as a flag takes it; of a secret always empty
	Set  bool   // it is not empty
}

// Values lists every setting with its value, in the order of Settings.
func (c *Config) Values() []Value {
	var all []Value
	for _, s := range settings(c) {
		v := Value{Setting: s.Setting, Source: c.source(s.Setting), Text: s.value.text()}
		v.Set = v.Text != ""
		if s.Secret {
			v.Text = ""
		}
		all = append(all, v)
	}
	return all
}

// File returns the path of the file that Load read; empty: none.
func (c *Config) File() string { return c.file }

func (c *Config) source(s Setting) Source {
	from, ok := c.from[s.Path]
	switch {
	case !ok:
		return Source{From: "default"}
	case strings.HasPrefix(from, "--"):
		return Source{From: "flag"}
	case from == s.Env:
		return Source{From: "environment"}
	}
	line, _ := strconv.Atoi(from[strings.LastIndexByte(from, ':')+1:])
	return Source{"file", line}
}

// takeSource takes over where another Config has a setting from.
func (c *Config) takeSource(path string, read *Config) {
	all := maps.Clone(c.from)
	if from, ok := read.from[path]; ok {
		if all == nil {
			all = map[string]string{}
		}
		all[path] = from
	} else {
		delete(all, path)
	}
	c.from = all
}
