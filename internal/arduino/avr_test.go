package arduino_test

import (
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

// avrFlags are those of the Arduino IDE for an Uno, but for -flto. The core's own code needs
// the last one with this avr-libc.
var avrFlags = []string{
	"-Os", "-ffunction-sections", "-fdata-sections", "-mmcu=atmega328p", "-DF_CPU=16000000L",
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

// arduinoCore compiles the parts of the Arduino core that the tests' sketches need, into a
// library.
func arduinoCore(t testing.TB) string {
	t.Helper()
	return once(t, "core.a", func(out string) {
		dir := t.TempDir()
		objects := []string{}
		for _, f := range []string{"main.cpp", "Print.cpp", "Stream.cpp", "IPAddress.cpp", "HardwareSerial.cpp", "HardwareSerial0.cpp", "new.cpp", "abi.cpp", "wiring.c", "wiring_analog.c", "wiring_digital.c", "hooks.c"} {
			o := filepath.Join(dir, f+".o")
			compiler, flags := "avr-gcc", []string{"-std=gnu11"}
			if filepath.Ext(f) == ".cpp" {
				compiler, flags = "avr-g++", avrCPP
			}
			run(t, compiler, slices.Concat(avrFlags, flags, []string{"-w", "-c", filepath.Join(avrCore, "cores/arduino", f), "-o", o})...)
			objects = append(objects, o)
		}
		hash := filepath.Join(dir, "hash.o")
		run(t, "avr-gcc", "-mmcu=atmega328p", "-c", filepath.Join(src, "wt_sip.S"), "-o", hash)
		run(t, "avr-ar", slices.Concat([]string{"rcs", out}, objects, []string{hash})...)
	})
}

// firmware links the sketch for the simulator.
func firmware(t testing.TB, name string, options ...string) string {
	t.Helper()
	core := arduinoCore(t)
	return once(t, name+".elf", func(out string) {
		o := filepath.Join(t.TempDir(), "sketch.o")
		compileSketch(t, filepath.Join("testdata", "simulated", "simulated.ino"), o, options...)
		run(t, "avr-gcc", "-mmcu=atmega328p", "-Os", "-Wl,--gc-sections", o, core, "-o", out)
	})
}

// Each example compiles as it is.
func TestExamplesCompile(t *testing.T) {
	t.Parallel()
	examples, err := filepath.Glob("../../arduino/examples/*/*.ino")
	require.NoError(t, err)
	require.Len(t, examples, 5)
	for _, e := range examples {
		compileSketch(t, e, os.DevNull, "-I"+filepath.Join("testdata", "stubs"))
	}
}

// sketchSize links a sketch, and returns what it takes.
func sketchSize(t testing.TB, options ...string) size {
	t.Helper()
	dir := t.TempDir()
	o, elf := filepath.Join(dir, "sketch.o"), filepath.Join(dir, "elf")
	compileSketch(t, filepath.Join("testdata", "class.ino"), o, append(options, "-I"+filepath.Join("testdata", "stubs"))...)
	run(t, "avr-gcc", "-mmcu=atmega328p", "-Os", "-mrelax", "-Wl,--gc-sections", o, arduinoCore(t), "-o", elf)
	f := strings.Fields(strings.Split(run(t, "avr-size", elf), "\n")[1])
	var n [3]int // text, data, bss
	for i := range n {
		var err error
		n[i], err = strconv.Atoi(f[i])
		require.NoError(t, err)
	}
	return size{n[0] + n[1], n[1] + n[2]}
}

// The class adds no more to the core than docs/devices.md says.
func TestClassSize(t *testing.T) {
	t.Parallel()
	core := measure(t, targets[0], builds[1])
	without, with := sketchSize(t, "-DWITHOUT"), sketchSize(t)
	finds := sketchSize(t, "-DWATCHTOWER_FIND")
	random := sketchSize(t, "-DWATCHTOWER_RANDOM32()=(*(volatile uint32_t*)0x100)")
	adds := size{random.flash - without.flash - core.flash - len(puppetKey), random.ram - without.ram - core.ram}
	doc, err := os.ReadFile("../../docs/devices.md")
	require.NoError(t, err)
	is := regexp.MustCompile(`adds\n(\d+) bytes of flash and (\d+) of RAM, the counter in EEPROM (\d+) of flash, finding the gateway\n(\d+) and (\d+)\.`).FindStringSubmatch(string(doc))
	require.Len(t, is, 6)
	if version(t, targets[0]) != "5.4.0" {
		return // the table's compiler
	}
	assert.Equal(t, is[1:], []string{strconv.Itoa(adds.flash), strconv.Itoa(adds.ram), strconv.Itoa(with.flash - random.flash), strconv.Itoa(finds.flash - with.flash), strconv.Itoa(finds.ram - with.ram)}, "docs/devices.md says something else")
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
