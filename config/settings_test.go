package config

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

//go:generate go test -run ^TestSettingsPage$ -update

const settingsPage = "../docs/settings.md"

// Each setting is a row of a section's table, and the page is made from the rows.
func TestSettingsPage(t *testing.T) {
	page := page()
	if flag.Lookup("update").Value.String() == "true" {
		require.NoError(t, os.WriteFile(settingsPage, []byte(page), 0o644))
	}
	got, err := os.ReadFile(settingsPage)
	require.NoError(t, err)
	assert.Equal(t, page, string(got), "the page is not what the table makes: go generate ./config")
}

const pageHead = `# Settings

This page is made from the table of settings in ` + "`config/settings.go`" + ` (` + "`go generate ./config`" + `).

A setting is given as a flag, as a variable in the environment or in the YAML file
(` + "`--config FILE`" + `). A flag counts before a variable, a variable before the file, the file
before the default. ` + "`watchtower config print`" + ` prints what is in force, as a file.

A time has a unit: 500ms, 30s, 2m, 12h, 400d. A list is written ` + "`a,b,c`" + ` in a flag or a
variable, and ` + "`[a, b, c]`" + ` in the file. A setting takes effect at the next start. Those that
are marked ↻ are also read again by a reload (SIGHUP).

` + "`channels`" + ` and ` + "`users`" + ` are in the file only: [Home Assistant](home-assistant-reference.md#settings),
[channels that want more than one](confirm.md#settings), [channel maps](channel-maps.md),
[the broker's users](broker.md#users).
`

func page() string {
	var b strings.Builder
	b.WriteString(pageHead)
	c := Default()
	section := "none yet"
	for _, s := range settings(&c) {
		in, _, nested := strings.Cut(s.Path, ".")
		if !nested {
			in = "The gateway as a whole"
		}
		if in != section {
			fmt.Fprintf(&b, "\n## %s\n\n| Key | Variable | Flag | Default | Range | Unit | What it is |\n|---|---|---|---|---|---|---|\n", in)
		}
		section = in
		mark, shorter := "", ""
		if s.Reloads {
			mark = " ↻"
		}
		if s.Alias != "" {
			shorter = ", `--" + s.Alias + "`"
		}
		fmt.Fprintf(&b, "| `%s`%s | `%s` | `--%s`%s | `%s` | %s | %s | %s |\n", s.Path, mark, s.Env, s.Flag, shorter,
			s.value.yaml(), cell(s.Range), cell(s.Unit), cell(s.Usage))
	}
	return b.String()
}

// cell escapes text, so that Markdown shows it as it is.
func cell(s string) string { return strings.NewReplacer("|", `\|`, "*", `\*`).Replace(s) }

// Each field has one row, and has the name of its key.
func TestFieldsAreNamedAsTheirKeys(t *testing.T) {
	var c Config
	rows := map[uintptr]string{}
	for _, s := range settings(&c) {
		at := reflect.ValueOf(s.value).MethodByName("At").Call(nil)[0].Pointer()
		assert.Empty(t, rows[at], "%s and %s have one field", rows[at], s.Path)
		rows[at] = s.Path
	}
	var check func(path string, v reflect.Value)
	check = func(path string, v reflect.Value) {
		for i := range v.NumField() {
			name := path + strings.ToLower(v.Type().Field(i).Name)
			switch f := v.Field(i); {
			case !v.Type().Field(i).IsExported(): // where values come from
			case f.Kind() == reflect.Struct:
				check(name+".", f)
			case f.Kind() != reflect.Map: // channels and users are no settings
				assert.Equal(t, name, strings.ReplaceAll(rows[f.Addr().Pointer()], "_", ""), "the row of the field")
			}
		}
	}
	check("", reflect.ValueOf(&c).Elem())
}

// A reload takes over the marked settings, and no others.
func TestReloadTakesWhatItsRowSays(t *testing.T) {
	read := Default()
	read.Log.Level, read.Callbacks.Allow, read.AdminKey, read.TLS.Key = "debug", []string{"a.lan"}, "k3wq7zn2xv4b5tja6m2q", "k.pem"
	read.Log.Format, read.Limits.Senders, read.HTTP.Listen = "json", 5, ":1"
	c := Default()
	before := c
	c.Reload(read)
	assert.Equal(t, []string{"tls.key", "admin_key", "callbacks.allow", "log.level"}, Changed(&before, &c))
	assert.Equal(t, []string{"http.listen", "limits.senders", "log.format"}, Changed(&c, &read))
}

// The ends of a range are allowed. A value beyond them is refused with a fault that says
// the range.
func TestRangesAreKept(t *testing.T) {
	checked := 0
	refuses := func(s setting, text string) {
		t.Helper()
		require.NoError(t, s.value.set(text), s.Path)
		assert.ErrorContains(t, s.value.check(), s.Range, "%s: %s", s.Path, text)
		checked++
	}
	takes := func(s setting, text string) {
		t.Helper()
		require.NoError(t, s.value.set(text), s.Path)
		assert.NoError(t, s.value.check(), "%s: %s", s.Path, text)
	}
	var c Config
	for _, s := range settings(&c) {
		switch v := s.value.(type) {
		case *intValue:
			takes(s, strconv.Itoa(v.least))
			takes(s, strconv.Itoa(v.most))
			refuses(s, strconv.Itoa(v.least-1))
			refuses(s, strconv.Itoa(v.most+1))
		case *durationValue:
			takes(s, v.least.String())
			refuses(s, (v.least - 1).String())
		case *secondsValue:
			takes(s, v.most.String())
			refuses(s, (v.most + time.Second).String())
			refuses(s, "1.5s")
		}
	}
	assert.Greater(t, checked, 80)
}
