package config

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

const envPrefix = "WATCHTOWER_"

// FileVariable is the environment variable that names the configuration file if no flag
// does. It is no setting: a file cannot name itself.
const FileVariable = envPrefix + "CONFIG"

// Warning is an environment variable whose name begins like a setting's, but that is no
// setting. It is no fault, because container platforms set such variables.
type Warning struct {
	Variable string
	Nearest  string // the variable that may have been meant, or empty
}

// Load returns the effective configuration. A flag counts before a variable of environ
// (in the form of os.Environ), a variable before the file, the file before the default.
// Flags may be nil, file may be empty. The error is a Faults that holds every fault.
func Load(flags *pflag.FlagSet, environ []string, file string) (Config, []Warning, error) {
	c := Default()
	from := map[string]string{}
	var faults Faults
	if file != "" {
		faults = readFile(&c, file, from)
	}
	env := environment(environ)
	for _, s := range settings(&c) {
		if text, ok := env[s.Env]; ok {
			faults = append(faults, apply(s, text, s.Env, from)...)
		}
		if name, text, ok := given(flags, s.Setting); ok {
			faults = append(faults, apply(s, text, "--"+name, from)...)
		}
	}
	if c.DataDir == "" {
		dir, err := defaultDataDir(env)
		if err != nil {
			faults = append(faults, Fault{Path: "data_dir", Problem: err.Error()})
			dir = "." // the fault is noted; an empty path would be a second one
		}
		c.DataDir = dir
	}
	c.file, c.from = file, from
	return c, unknownVariables(env), append(faults, c.faults(from)...).orNil()
}

// DataDir returns the data directory of a gateway that is started with this value of
// --data-dir (empty: none), this environment and no configuration file.
func DataDir(flag string, environ []string) (string, error) {
	env := environment(environ)
	dir := flag
	if dir == "" {
		dir = env[envPrefix+"DATA_DIR"]
	}
	if dir == "" {
		return defaultDataDir(env)
	}
	return dir, dataDir(dir)
}

// defaultDataDir returns the first directory in $STATE_DIRECTORY, which systemd sets, or
// else a directory below $HOME.
func defaultDataDir(env map[string]string) (string, error) {
	if dir, _, _ := strings.Cut(env["STATE_DIRECTORY"], ":"); dir != "" {
		return dir, nil
	}
	if home := env["HOME"]; home != "" {
		return filepath.Join(home, ".local", "state", "watchtower"), nil
	}
	return "", errors.New("is not set, and there is no $HOME to put it in: give --data-dir")
}

// apply sets a setting from a flag or a variable.
func apply(s setting, text, source string, from map[string]string) Faults {
	from[s.Path] = source
	if err := s.value.set(text); err != nil {
		return Faults{{Path: s.Path, Problem: err.Error(), Where: source}}
	}
	return nil
}

func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, e := range environ {
		if name, text, ok := strings.Cut(e, "="); ok {
			env[name] = text
		}
	}
	return env
}

// ClientVariables are environment variables that only the clients of the command line
// read. The gateway does not warn of them.
var ClientVariables = []string{envPrefix + "URL", envPrefix + "NAME", envPrefix + "CAFILE", envPrefix + "TOKEN", envPrefix + "CONTEXT"}

func unknownVariables(env map[string]string) []Warning {
	known := map[string]bool{FileVariable: true}
	for _, name := range ClientVariables {
		known[name] = true
	}
	renames := map[string]string{}
	var names []string
	for _, s := range Settings() {
		known[s.Env] = true
		names = append(names, strings.TrimPrefix(s.Env, envPrefix))
		if s.Alias != "" {
			renames[variable(strings.ReplaceAll(s.Alias, "-", "_"))] = s.Env
		}
	}
	for old, now := range renamed {
		renames[variable(old)] = variable(now)
	}
	var unknown []Warning
	for name := range env {
		if rest, ok := strings.CutPrefix(name, envPrefix); ok && !known[name] {
			w := Warning{Variable: name}
			if now := renames[name]; now != "" {
				w.Nearest = now
			} else if near := nearest(rest, names); near != "" {
				w.Nearest = envPrefix + near
			}
			unknown = append(unknown, w)
		}
	}
	slices.SortFunc(unknown, func(a, b Warning) int { return strings.Compare(a.Variable, b.Variable) })
	return unknown
}
