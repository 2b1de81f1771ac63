package arduino_test

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write smaller sizes into docs/devices.md")

// size is what something takes in flash and in RAM, in bytes.
type size struct{ flash, ram int }

// build is a form of the library, and the most that it may take on an ATmega328P.
type build struct {
	name    string
	core    string // what has the bodies
	program string
	options []string
	most    size
}

var builds = []build{
	{"whole, plain bodies", "wt_core.h", "all.c", []string{"-DWT_HIDDEN=0"}, size{1472, 160}},
	{"whole", "wt_core.h", "all.c", nil, size{1644, 171}},
	{"sensor, plain bodies", "wt_core.h", "all.c", []string{"-DWT_SENSOR=1", "-DWT_HIDDEN=0"}, size{1280, 144}},
	{"sensor", "wt_core.h", "all.c", []string{"-DWT_SENSOR=1"}, size{1480, 160}},
	{"basic frames", "wt_basic_core.h", "allbasic.c", nil, size{700, 105}},
}

// target is a processor.
type target struct {
	prefix  string
	compile []string
	link    []string
}

var targets = []target{
	{"avr-", []string{"-mmcu=atmega328p", "-fno-optimize-sibling-calls"}, []string{"-mmcu=atmega328p", "-mrelax"}},
	{"arm-none-eabi-", []string{"-mcpu=cortex-m0plus", "-mthumb"}, []string{"-mcpu=cortex-m0plus", "-mthumb", "-nostdlib", "-Wl,-e,main"}},
}

// The library is no larger than docs/devices.md says, and no larger than it may be. The table has
// a column for each compiler; those that are not here stay as they are.
func TestSizes(t *testing.T) {
	t.Parallel()
	const doc = "../../docs/devices.md"
	text, err := os.ReadFile(doc)
	require.NoError(t, err)
	is := regexp.MustCompile(`(?m)^\| Bytes of flash / RAM \|.*\n(?:\|.*\n)+`).FindString(string(text))
	require.NotEmpty(t, is, "docs/devices.md has no table of sizes")
	rows := cells(is)
	require.Len(t, rows, 2+len(builds))
	for _, m := range targets {
		name := m.prefix + "gcc " + version(t, m)
		column := slices.Index(rows[0], name)
		for i, b := range builds {
			row := rows[2+i]
			require.Equal(t, b.name, row[0])
			s := measure(t, m, b)
			if m.prefix == "avr-" {
				assert.LessOrEqual(t, s.flash, b.most.flash, "flash of %s", b.name)
				assert.LessOrEqual(t, s.ram, b.most.ram, "RAM of %s", b.name)
			}
			now := fmt.Sprintf("%s / %d", thousands(s.flash), s.ram)
			if column < 0 {
				t.Logf("%s, which docs/devices.md does not have: %s: %s", name, b.name, now)
				continue
			}
			was := parseSize(t, row[column])
			assert.LessOrEqual(t, s.flash, was.flash, "the flash of %s has risen, by %s", b.name, name)
			assert.LessOrEqual(t, s.ram, was.ram, "the RAM of %s has risen, by %s", b.name, name)
			row[column] = now
		}
	}
	table := ""
	for i, row := range rows {
		if i == 1 {
			table += "|" + strings.Repeat("---|", len(row)) + "\n"
			continue
		}
		table += "| " + strings.Join(row, " | ") + " |\n"
	}
	if *update && !t.Failed() {
		require.NoError(t, os.WriteFile(doc, []byte(strings.Replace(string(text), is, table, 1)), 0o644))
		return
	}
	assert.Equal(t, is, table, "sizes have fallen: go test ./internal/arduino -run Sizes -update")
}

// cells are those of a table.
func cells(table string) (rows [][]string) {
	for line := range strings.Lines(table) {
		row := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range row {
			row[i] = strings.TrimSpace(row[i])
		}
		rows = append(rows, row)
	}
	return rows
}

// parseSize reads a cell, "1,396 / 160".
func parseSize(t testing.TB, cell string) (s size) {
	t.Helper()
	_, err := fmt.Sscanf(strings.ReplaceAll(cell, ",", ""), "%d / %d", &s.flash, &s.ram)
	require.NoError(t, err, cell)
	return s
}

func thousands(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

func version(t *testing.T, m target) string {
	return strings.TrimSpace(run(t, m.prefix+"gcc", "-dumpfullversion", "-dumpversion"))
}

// measure links a program that uses everything, and returns the part of the library: its
// code, and what it needs of the compiler's libraries.
func measure(t *testing.T, m target, b build) size {
	t.Helper()
	dir := t.TempDir()
	core := filepath.Join(dir, "core.c")
	require.NoError(t, os.WriteFile(core, []byte("#include \""+b.core+"\"\n"), 0o600))
	flags := append([]string{"-std=gnu99", "-Os", "-Wall", "-Wextra", "-Werror", "-ffunction-sections", "-fdata-sections", "-I" + src}, m.compile...)
	compile := func(file, out string, more ...string) string {
		run(t, m.prefix+"gcc", append(slices.Concat(flags, more), "-c", file, "-o", out)...)
		return out
	}
	shared := func(file string) string { // by all builds
		return once(t, m.prefix+filepath.Base(file)+".o", func(out string) { compile(file, out, "-fno-tree-loop-distribute-patterns") })
	}
	objects := []string{
		compile(core, filepath.Join(dir, "core.o"), b.options...),
		compile(filepath.Join("testdata", b.program), filepath.Join(dir, "program.o"), b.options...),
		shared(filepath.Join(src, "wt_sip.c")),
	}
	if m.prefix == "avr-" {
		objects = append(objects, shared(filepath.Join(src, "wt_sip.S")))
	} else {
		objects = append(objects, shared(filepath.Join("testdata", "libc.c")))
	}
	link := append(append([]string{"-Os"}, m.link...), "-Wl,--gc-sections,-Map="+filepath.Join(dir, "map"), "-o", filepath.Join(dir, "elf"))
	link = append(link, objects...)
	if m.prefix != "avr-" {
		link = append(link, "-lgcc")
	}
	run(t, m.prefix+"gcc", link...)
	return ofLibrary(t, filepath.Join(dir, "map"))
}

// The parts of a link that are no part of the library: the program, what starts it, and
// memcpy and memset, which every program has.
var others = regexp.MustCompile(`program\.o$|libc\.c\.o$|crt\w*\.o$|_(clear_bss|copy_data|exit|tablejump\w*)\.o\)$`)

// ofLibrary adds up the sections in a linker's map.
func ofLibrary(t *testing.T, file string) (s size) {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	_, body, ok := strings.Cut(string(b), "Linker script and memory map")
	require.True(t, ok)
	section := ""
	for lines := bufio.NewScanner(strings.NewReader(body)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) == 1 && strings.HasPrefix(lines.Text(), " ."):
			section = f[0] // the rest is on the next line
			continue
		case len(f) == 4 && strings.HasPrefix(lines.Text(), " ."):
			section, f = f[0], f[1:]
		}
		if len(f) != 3 || section == "" || !strings.HasPrefix(f[0], "0x") || others.MatchString(f[2]) {
			section = ""
			continue
		}
		n, err := strconv.ParseInt(f[1], 0, 64)
		if err == nil {
			s.add(section, int(n))
		}
		section = ""
	}
	require.NotZero(t, s.flash)
	return s
}

func (s *size) add(section string, n int) {
	switch {
	case strings.HasPrefix(section, ".text"), strings.HasPrefix(section, ".progmem"), strings.HasPrefix(section, ".rodata"):
		s.flash += n
	case strings.HasPrefix(section, ".data"):
		s.flash += n
		s.ram += n
	case strings.HasPrefix(section, ".bss"), section == "COMMON":
		s.ram += n
	}
}
