package arduino_test

import (
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

// avrCore is Debian's copy of the Arduino core for AVR.
const avrCore = "/usr/share/arduino/hardware/arduino/avr"

// avrFlags are those of the Arduino IDE for an Uno. The core's own code needs the last one with
// this avr-libc.
var avrFlags = []string{
	"-Os", "-flto", "-ffunction-sections", "-fdata-sections", "-mmcu=atmega328p", "-DF_CPU=16000000L",
	"-DARDUINO=10819", "-DARDUINO_AVR_UNO", "-DARDUINO_ARCH_AVR",
	"-I" + avrCore + "/cores/arduino", "-I" + avrCore + "/variants/standard", "-DDECIMAL_DIG=__DECIMAL_DIG__",
}

var avrCPP = []string{"-std=gnu++11", "-fno-exceptions", "-fno-threadsafe-statics"}

// compileSketch compiles a sketch as the Arduino IDE does. It allows warnings about the
// Arduino core only.
func compileSketch(t testing.TB, sketch, out string, more ...string) {
	t.Helper()
	said := run(t, "avr-g++", slices.Concat(avrFlags, avrCPP, []string{"-Wall", "-Wextra", "-Wno-unused-function", "-I" + src}, more,
		[]string{"-x", "c++", "-include", "Arduino.h", "-c", sketch, "-o", out})...)
	assert.NotContains(t, said, filepath.Join("arduino", "src"))
	assert.NotContains(t, said, filepath.Base(sketch))
}

// slow are the flags of an Uno with a clock of 1 MHz. Its seconds take a sixteenth of the cycles.
var slow = []string{"-UF_CPU", "-DF_CPU=1000000L"}

// arduinoCore compiles the parts of the Arduino core that the tests' sketches need, into a
// library.
func arduinoCore(t testing.TB, clock ...string) string {
	t.Helper()
	return once(t, fmt.Sprintf("core%v.a", clock), func(out string) {
		dir := t.TempDir()
		objects := []string{}
		for _, f := range []string{"main.cpp", "Print.cpp", "Stream.cpp", "IPAddress.cpp", "HardwareSerial.cpp", "HardwareSerial0.cpp", "new.cpp", "abi.cpp", "wiring.c", "wiring_analog.c", "wiring_digital.c", "hooks.c"} {
			o := filepath.Join(dir, f+".o")
			compiler, flags := "avr-gcc", []string{"-std=gnu11"}
			if filepath.Ext(f) == ".cpp" {
				compiler, flags = "avr-g++", avrCPP
			}
			run(t, compiler, slices.Concat(avrFlags, flags, clock, []string{"-w", "-c", filepath.Join(avrCore, "cores/arduino", f), "-o", o})...)
			objects = append(objects, o)
		}
		hash := filepath.Join(dir, "hash.o")
		run(t, "avr-gcc", "-mmcu=atmega328p", "-c", filepath.Join(src, "wt_sip.S"), "-o", hash)
		run(t, "avr-gcc-ar", slices.Concat([]string{"rcs", out}, objects, []string{hash})...)
	})
}

// firmware links the sketch for the simulator.
func firmware(t testing.TB, name string, options ...string) string {
	t.Helper()
	core := arduinoCore(t)
	if slices.Contains(options, slow[0]) {
		core = arduinoCore(t, slow...)
	}
	return once(t, name+".elf", func(out string) {
		o := filepath.Join(t.TempDir(), "sketch.o")
		compileSketch(t, filepath.Join("testdata", "simulated", "simulated.ino"), o, options...)
		linkSketch(t, out, o, core)
	})
}

// linkSketch links as the Arduino IDE does.
func linkSketch(t testing.TB, out string, objects ...string) {
	t.Helper()
	run(t, "avr-gcc", slices.Concat([]string{"-mmcu=atmega328p", "-Os", "-flto", "-fuse-linker-plugin", "-w", "-Wl,--gc-sections", "-o", out}, objects)...)
}

// Each example compiles as it is.
func TestExamplesCompile(t *testing.T) {
	t.Parallel()
	examples, err := filepath.Glob("../../arduino/examples/*/*.ino")
	require.NoError(t, err)
	require.Len(t, examples, 7)
	for _, e := range examples {
		compileSketch(t, e, os.DevNull, "-I"+filepath.Join("testdata", "stubs"))
	}
}

// sketchSize links a sketch with a network that does nothing, and returns what it takes.
func sketchSize(t testing.TB, sketch string, options ...string) size {
	t.Helper()
	dir := t.TempDir()
	stubs := "-I" + filepath.Join("testdata", "stubs")
	o, elf, net := filepath.Join(dir, "sketch.o"), filepath.Join(dir, "elf"), filepath.Join(dir, "net.o")
	compileSketch(t, filepath.Join("testdata", sketch), o, append(options, stubs)...)
	// Without -flto, the linker cannot see that it does nothing.
	run(t, "avr-g++", slices.Concat(avrFlags, avrCPP, []string{"-fno-lto", "-w", stubs, "-c", filepath.Join("testdata", "net.cpp"), "-o", net})...)
	linkSketch(t, elf, o, net, arduinoCore(t))
	f := strings.Fields(strings.Split(run(t, "avr-size", elf), "\n")[1])
	var n [3]int // text, data, bss
	for i := range n {
		var err error
		n[i], err = strconv.Atoi(f[i])
		require.NoError(t, err)
	}
	return size{n[0] + n[1], n[1] + n[2]}
}

// What a sketch with the class takes more than one that makes the same calls in C is what
// docs/devices.md says. The nonces of both are the same, so they do not count.
func TestClassSize(t *testing.T) {
	t.Parallel()
	none := "-DWATCHTOWER_RANDOM32()=0"
	c, random := sketchSize(t, "core.ino", none), sketchSize(t, "class.ino", none)
	counts, finds := sketchSize(t, "class.ino"), sketchSize(t, "class.ino", "-DWATCHTOWER_FIND")
	// Name and key are not counted: in C they are in flash, with room for the longest name.
	inC, inClass := size{flash: 16 + 1 + 33}, size{16 + len("lamp") + 1, len("lamp") + 1}
	adds := size{random.flash - inClass.flash - (c.flash - inC.flash), random.ram - inClass.ram - (c.ram - inC.ram)}
	assert.LessOrEqual(t, adds.flash, 350)
	assert.LessOrEqual(t, adds.ram, 24)
	assert.LessOrEqual(t, counts.flash-random.flash, 120)
	doc, err := os.ReadFile("../../docs/devices.md")
	require.NoError(t, err)
	is := regexp.MustCompile(`adds\n(\d+) bytes of flash and (\d+) of RAM, the counter in EEPROM (\d+) and (\d+), finding the gateway\n(\d+) and (\d+)\.`).FindStringSubmatch(string(doc))
	require.Len(t, is, 7)
	if version(t, targets[0]) != "5.4.0" {
		return // the table's compiler
	}
	now := []int{adds.flash, adds.ram, counts.flash - random.flash, counts.ram - random.ram, finds.flash - counts.flash, finds.ram - counts.ram}
	assert.Equal(t, fmt.Sprint(is[1:]), fmt.Sprint(now), "docs/devices.md says something else")
}

// The sketch in the README compiles.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../arduino/README.md")
	require.NoError(t, err)
	_, sketch, ok := strings.Cut(string(text), "```cpp\n")
	require.True(t, ok)
	sketch, _, ok = strings.Cut(sketch, "```")
	require.True(t, ok)
	file := filepath.Join(t.TempDir(), "readme.ino")
	require.NoError(t, os.WriteFile(file, []byte(sketch), 0o600))
	compileSketch(t, file, os.DevNull, "-I"+filepath.Join("testdata", "stubs"))
}
