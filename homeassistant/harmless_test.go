package homeassistant

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rendered is what became of a template and a payload.
type rendered struct {
	Text, Error string
	Length      int
	Seconds     float64 // of the processor
}

// renderer is a process with Jinja2, and what Home Assistant adds to it.
type renderer struct {
	in  io.Writer
	out *bufio.Scanner
}

func startRenderer(t testing.TB) *renderer {
	t.Helper()
	cmd := exec.Command("/usr/bin/python3", "-B", "../testdata/homeassistant/render.py")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start(), "make setup installs it")
	t.Cleanup(func() {
		assert.NoError(t, in.Close())
		assert.NoError(t, cmd.Wait())
	})
	r := &renderer{in, bufio.NewScanner(out)}
	r.out.Buffer(nil, 1<<20)
	return r
}

func (r *renderer) render(t testing.TB, template string, payloads ...string) (all []rendered) {
	t.Helper()
	require.NoError(t, json.NewEncoder(r.in).Encode(map[string]any{"template": template, "payloads": payloads}))
	for range payloads {
		require.True(t, r.out.Scan(), "the renderer ended at %s", template)
		var one rendered
		require.NoError(t, json.Unmarshal(r.out.Bytes(), &one))
		all = append(all, one)
	}
	return all
}

// evil are payloads that a template may make too much of.
var evil = []string{
	`{"a":1,"b":0,"c":null}`, `{"a":"` + strings.Repeat("9", 8000) + `","b":"%99999d","c":[1,2,3]}`, `{"a":9007199254740993,"b":-1e308,"c":true}`,
	`{"a":[` + strings.Repeat("1,", 4000) + `1],"b":{"c":{"d":"x"}},"c":"a,b"}`, `{}`, `[1,2]`, `5`, `"text"`, `null`, `{"a":{"a":{"a":"1"}},"b":[[[]]],"c":""}`,
	strings.Repeat("a,", 8000), "", `{"a":"3,5","b":"0x1F","c":"{{ 1 }}"}`,
}

// The bounds of one rendering: the longest text is some copies of the longest payload.
const (
	longest = 2 << 20 // characters
	slowest = 1.0     // seconds of the processor
)

func harmless(t testing.TB, r *renderer, template string) {
	t.Helper()
	for i, one := range r.render(t, safeTemplate(template), evil...) {
		assert.Less(t, one.Length, longest, "%s with payload %d", template, i)
		assert.Less(t, one.Seconds, slowest, "%s with payload %d", template, i)
		for _, refusal := range []string{"TemplateSyntaxError", "SecurityError", "MemoryError", "RecursionError", "TemplateAssertionError"} {
			assert.NotContains(t, one.Error, refusal, "%s is published as %s", template, safeTemplate(template))
		}
	}
}

// What is accepted gives this, and where it cannot be computed it is none: an error would stand
// in Home Assistant's log.
func TestWhatTemplatesMake(t *testing.T) {
	r := startRenderer(t)
	for template, want := range map[string][]string{
		"{{ value_json.v * 99 }}":                                 {`{"v":2}`, "198", `{"v":"2"}`, "None", `{"v":null}`, "None", `{}`, "None"},
		"{{ value_json.v | float * 99 }}":                         {`{"v":"2"}`, "198.0", `{"v":"x"}`, "None"},
		"{{ value_json.v | float(0) * 99 }}":                      {`{"v":"2"}`, "198.0", `{"v":"x"}`, "0"},
		"{{ value_json.a / value_json.b }}":                       {`{"a":6,"b":3}`, "2.0", `{"a":6,"b":0}`, "None", `{"a":6}`, "None"},
		"{{ (value_json.t | float - 32) / 1.8 | round(1) }}":      {`{"t":50}`, "10.0", `{"t":"cold"}`, "None"},
		"{{ ((value_json.t - 32) / 1.8) | round(1) }}":            {`{"t":50}`, "10.0", `{"t":null}`, "None"},
		"{{ value.split(',')[1] | float(0) }}":                    {`1,2`, "2.0", `1`, "0"},
		"{{ value.split(',')[1] | float }}":                       {`1,2`, "2.0", `1`, "None"},
		"{{ value_json.a.b.c }}":                                  {`{"a":{"b":{"c":5}}}`, "5", `{"a":null}`, "None", `{"a":{"b":1}}`, ""},
		"{{ value_json.s | replace(',', '.') | float }}":          {`{"s":"3,5"}`, "3.5", `{"s":null}`, "None", `{}`, "None"},
		"{{ value_json.m | default(7) }}":                         {`{}`, "7", `{"m":5}`, "5"},
		"{{ value_json.m * 2 if value_json.m is number else 0 }}": {`{"m":4}`, "8", `{"m":"x"}`, "0"},
		"{{ 'on' if value_json.p > 5 else 'off' }}":               {`{"p":6}`, "on", `{"p":5}`, "off", `{"p":"x"}`, "off"},
		"{{ value_json.f | bitwise_and(4) }}":                     {`{"f":7}`, "4", `{"f":1.5}`, "None"},
		"{{ value_json.a % 10 }}":                                 {`{"a":25}`, "5", `{"a":"%d"}`, "None"},
		"{{ [value_json.a, value_json.b] | max }}":                {`{"a":1,"b":2}`, "2", `{"a":1,"b":null}`, "None"},
		"{{ min(value_json.a, value_json.b) }}":                   {`{"a":1,"b":2}`, "1", `{"a":1,"b":null}`, "None"},
		"{{ value_json.raw[2:4] | int(0, 16) }}":                  {`{"raw":"001F"}`, "31", `{"raw":"00"}`, "0", `{"raw":null}`, "None"},
		"{{ value_json.on | iif('yes', 'no') }}":                  {`{"on":true}`, "yes", `{"on":0}`, "no"},
		"{{ -value_json.a + 1 }} m":                               {`{"a":4}`, "-3 m", `{"a":null}`, "None m"},
		"{{ value_json.l | length }}":                             {`{"l":[1,2]}`, "2", `{"l":null}`, "None"},
		"{{ value_json.s.split(' ')[0] | upper }}":                {`{"s":"a b"}`, "A", `{"s":5}`, "None"},
		"{{ value_json.v | round(1, 'floor') }}":                  {`{"v":1.29}`, "1.2", `{"v":"x"}`, "None"},
		"{{ value_json['a b'][0].c * 0.5 }}":                      {`{"a b":[{"c":4}]}`, "2.0", `{"a b":[]}`, "None", `{"a b":null}`, "None"},
	} {
		require.Empty(t, checkTemplate(template), template)
		for i := 0; i < len(want); i += 2 {
			one := r.render(t, safeTemplate(template), want[i])[0]
			assert.Empty(t, one.Error, "%s with %s, as %s", template, want[i], safeTemplate(template))
			assert.Equal(t, want[i+1], one.Text, "%s with %s, as %s", template, want[i], safeTemplate(template))
		}
		harmless(t, r, template)
	}
}

// pieces are what random templates are made of; %s is a further piece.
var pieces = []string{
	"value", "value_json", "value_json.a", "value_json.b", "value_json.c.d", "value_json['a'][0]", "value_json.a[1:]", "5", "0.5", "0", "'x'", "'%9999d'", "none", "true",
	"(%s)", "%s * %s", "%s * 99", "%s %% %s", "%s / %s", "%s // 7", "%s + %s", "%s - %s", "%s ~ %s", "-%s", "not %s", "%s and %s", "%s or %s", "%s == %s", "%s < %s",
	"%s in %s", "%s not in %s", "%s if %s else %s", "%s if %s", "[%s, %s]", "%s | float", "%s | float(0)", "%s | float(%s)", "%s | int", "%s | int(0, 16)", "%s | round(9)",
	"%s | round", "%s | abs", "%s | multiply(%s)", "%s | add(1)", "%s | bitwise_or(255)", "%s | length", "%s | max", "%s | min", "%s | sum", "%s | first", "%s | last",
	"%s | default(%s)", "%s | lower", "%s | upper", "%s | trim", "%s | string", "%s | replace('1', '2')", "%s | replace('', 'xx')", "%s | iif(%s, %s)", "%s | bool", "%s is number",
	"%s is defined", "%s is none", "min(%s, %s)", "max(%s, %s)", "float(%s, %s)", "int(%s)", "%s.split(',')", "%s.split('')[1]", "%s.strip()", "%s.upper()", "%s[0]", "%s[%s]", "%s[%s:%s]", "%s.get('a')", "%s.a",
}

// grow makes an expression of the seed's bytes.
func grow(seed *[]byte, depth int) string {
	if len(*seed) == 0 || depth == 0 {
		return "value_json.a"
	}
	piece := pieces[int((*seed)[0])%len(pieces)]
	*seed = (*seed)[1:]
	for strings.Contains(piece, "%s") {
		piece = strings.Replace(piece, "%s", strings.ReplaceAll(grow(seed, depth-1), "%s", ""), 1)
	}
	return strings.ReplaceAll(piece, "%%", "%")
}

// Whatever is accepted can be read by Jinja2, and renders within bounds.
func FuzzTemplate(f *testing.F) {
	for i := range 60 {
		f.Add([]byte(fmt.Sprint(i*7919, "seed", i)), "{{ value }}")
	}
	f.Add([]byte{}, "{{ value_json.a * 99 * 99 * 99 * 99 * 99 * 99 * 99 * 99 * 99 * 99 }}")
	f.Add([]byte{}, "{{ value|upper ~ value|upper ~ value ~ value ~ value ~ value ~ value ~ value ~ value ~ value ~ value ~ value }}")
	f.Add([]byte{}, "{{ '}}' }} {{ 'a' }}")
	f.Add([]byte{}, "{{ value_json.a is none | sum }} {{ value_json.a is defined | string | length }}")
	r := startRenderer(f)
	f.Fuzz(func(t *testing.T, seed []byte, text string) {
		for _, template := range []string{"{{ " + grow(&seed, 5) + " }}", text} {
			if len(template) <= templateBytes && checkTemplate(template) == "" {
				harmless(t, r, template)
			}
		}
	})
}
