//go:build packages

package packaging

import (
	"archive/tar"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The tools of the makers of boards are in this folder, which make setup-packages fills.
const tools = "../testdata/python/packers"

// library is a copy of the library for small devices.
func library(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "Watchtower")
	require.NoError(t, os.CopyFS(dir, os.DirFS("../arduino")))
	return dir
}

// python runs a tool in a folder.
func python(t *testing.T, dir string, args ...string) {
	t.Helper()
	at, err := filepath.Abs(tools)
	require.NoError(t, err)
	require.DirExists(t, at, "make setup-packages installs it")
	cmd := exec.Command("/usr/bin/python3", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PYTHONPATH="+at, "PYTHONDONTWRITEBYTECODE=1", "HOME="+t.TempDir(), "PLATFORMIO_SETTING_ENABLE_TELEMETRY=no")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// packed are the names of the files in the archive of a pattern.
func packed(t *testing.T, pattern string) (names []string) {
	t.Helper()
	found, err := filepath.Glob(pattern)
	require.NoError(t, err)
	require.Len(t, found, 1, pattern)
	f, err := os.Open(found[0])
	require.NoError(t, err)
	defer f.Close()
	z, err := gzip.NewReader(f)
	require.NoError(t, err)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return names
		}
		require.NoError(t, err)
		names = append(names, strings.TrimPrefix(h.Name, "./"))
	}
}

// PlatformIO takes the library's manifest, and packs what a sketch needs. It fetches the names of
// all licences; here it is told the one.
func TestPlatformIOPacksTheLibrary(t *testing.T) {
	dir, out := library(t), t.TempDir()
	python(t, out, "-c", `
import sys
from platformio.package.manifest.schema import ManifestSchema
ManifestSchema.load_spdx_licenses = staticmethod(lambda: {"licenses": [{"licenseId": "MIT"}]})
from platformio.__main__ import main
sys.exit(main(["pio", "pkg", "pack", sys.argv[1]]))`, dir)
	names := packed(t, filepath.Join(out, "Watchtower-*.tar.gz"))
	assert.Subset(t, names, []string{"library.json", "LICENSE", "src/Watchtower.h", "src/wt_core.h", "src/wt_sip.S", "src/wt_sip.c", "examples/Valve/Valve.ino"})
	for _, n := range names {
		assert.False(t, strings.HasPrefix(n, "extras/"), n)
	}
}

// ESP-IDF's component manager takes the component's manifest, and packs it.
func TestESPIDFPacksTheComponent(t *testing.T) {
	dir := library(t)
	python(t, dir, "-c", `
import sys
sys.argv = ["compote", "component", "pack", "--name", "watchtower"]
from idf_component_manager.cli import safe_cli
safe_cli()`)
	names := packed(t, filepath.Join(dir, "dist", "watchtower_*.tgz"))
	assert.Subset(t, names, []string{"idf_component.yml", "CMakeLists.txt", "LICENSE", "src/wt.h", "src/wt_core.h", "src/wt_sip.c"})
}

// CMake builds the component by ESP-IDF's rules, of which there is a stand-in: its files and folders
// are there. Elsewhere it makes a library.
func TestCMakeTakesTheComponent(t *testing.T) {
	for name, project := range map[string]string{
		"ESP-IDF": `cmake_minimum_required(VERSION 3.16)
project(stand_in C)
set(ESP_PLATFORM 1)
function(idf_component_register)
  cmake_parse_arguments(C "" "" "SRCS;INCLUDE_DIRS" ${ARGN})
  add_library(component STATIC ${C_SRCS})
  target_include_directories(component PUBLIC ${C_INCLUDE_DIRS})
endfunction()
add_subdirectory(watchtower)
add_executable(lamp lamp.c)
target_link_libraries(lamp component)
`,
		"elsewhere": `cmake_minimum_required(VERSION 3.16)
project(elsewhere C)
add_subdirectory(watchtower)
add_executable(lamp lamp.c)
target_link_libraries(lamp watchtower_device)
`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(filepath.Join(dir, "watchtower"), os.DirFS("../arduino")))
			require.NoError(t, os.Rename(filepath.Join(dir, "watchtower/extras/pc/lamp.c"), filepath.Join(dir, "lamp.c")))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "CMakeLists.txt"), []byte(project), 0o600))
			for _, args := range [][]string{{"-S", dir, "-B", filepath.Join(dir, "build")}, {"--build", filepath.Join(dir, "build")}} {
				out, err := exec.Command("cmake", args...).CombinedOutput()
				require.NoError(t, err, "%s", out)
			}
			assert.FileExists(t, filepath.Join(dir, "build", "lamp"))
		})
	}
}

// The builder of the Arduino IDE finds the library by its name, and builds each example as it is. The
// libraries of a network shield and of a display are stand-ins.
func TestTheArduinoIDEBuildsEachExample(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(dir, "Watchtower"), os.DirFS("../arduino")))
	for name, headers := range map[string]string{"Ethernet": "chip", "LiquidCrystal": "stubs"} {
		files, err := filepath.Glob(filepath.Join("../internal/arduino/testdata", headers, name+"*.h"))
		require.NoError(t, err)
		require.NotEmpty(t, files)
		for _, f := range files {
			b, err := os.ReadFile(f)
			require.NoError(t, err)
			write(t, filepath.Join(dir, name, "src", filepath.Base(f)), string(b))
		}
		write(t, filepath.Join(dir, name, "library.properties"), "name="+name+"\nversion=1.0.0\nauthor=x\nmaintainer=x\nsentence=x\nparagraph=x\ncategory=Other\nurl=http://localhost/\narchitectures=*\n")
	}
	write(t, filepath.Join(dir, "LiquidCrystal/src/LiquidCrystal.cpp"), `#include "LiquidCrystal.h"
LiquidCrystal::LiquidCrystal(uint8_t, uint8_t, uint8_t, uint8_t, uint8_t, uint8_t) {}
void LiquidCrystal::begin(uint8_t, uint8_t) {}
void LiquidCrystal::clear() {}
size_t LiquidCrystal::write(uint8_t) { return 1; }
`)
	examples, err := filepath.Glob(filepath.Join(dir, "Watchtower/examples/*/*.ino"))
	require.NoError(t, err)
	require.Greater(t, len(examples), 5)
	for _, e := range examples {
		out, err := exec.Command("arduino-builder", "-compile", "-hardware", "/usr/share/arduino/hardware", "-tools", t.TempDir(), "-libraries", dir,
			"-fqbn=arduino:avr:uno", "-build-path", t.TempDir(), "-warnings=all", "-prefs=runtime.tools.avr-gcc.path=/usr",
			"-prefs=tools.ctags.path=/usr/bin", "-prefs=tools.ctags.cmd.path={path}/arduino-ctags",
			`-prefs=tools.ctags.pattern="{cmd.path}" -u --language-force=c++ -f - --c++-kinds=svpf --fields=KSTtzns --line-directives "{source_file}"`,
			"-prefs=compiler.cpp.extra_flags=-DDECIMAL_DIG=__DECIMAL_DIG__", e).CombinedOutput() // the core needs it with this avr-libc
		require.NoError(t, err, "%s", out)
		assert.Contains(t, string(out), "Sketch uses")
		for line := range strings.Lines(string(out)) {
			assert.False(t, strings.Contains(line, "warning") && !strings.Contains(line, "/cores/arduino/"), line)
		}
	}
}

// write writes a file, and makes its folder.
func write(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
}
