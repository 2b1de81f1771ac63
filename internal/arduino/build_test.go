package arduino_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// src is the folder of the library's code, and built one for what is compiled.
var (
	src   = filepath.Join("..", "..", "arduino", "src")
	built string
)

func TestMain(m *testing.M) {
	var err error
	if built, err = os.MkdirTemp("", "watchtower-arduino"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(built)
		os.Exit(code)
	}))
}

// sanitized are the flags of code that stops at its first fault.
var sanitized = []string{"-g", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-I" + src}

// run runs a program, whose failure fails the test, and returns what it prints.
func run(t testing.TB, program string, args ...string) string {
	t.Helper()
	out, err := exec.Command(program, args...).CombinedOutput()
	require.NoError(t, err, "%s %v: %s (make setup installs what is missing)", program, args, out)
	return string(out)
}

// programs are compiled once each, by their names.
var programs sync.Map

// once returns the file that compile makes, which makes it only once.
func once(t testing.TB, name string, compile func(out string)) string {
	t.Helper()
	out := filepath.Join(built, name)
	lock, _ := programs.LoadOrStore(name, new(sync.Mutex))
	lock.(*sync.Mutex).Lock()
	defer lock.(*sync.Mutex).Unlock()
	if _, err := os.Stat(out); err != nil {
		compile(out)
	}
	return out
}

// puppetProgram compiles the puppet with options of the core, in C or in C++.
func puppetProgram(t testing.TB, language, name string, options ...string) string {
	t.Helper()
	return once(t, "puppet-"+language+"-"+name, func(out string) {
		hash := out + ".o"
		run(t, "gcc", append(append([]string{}, sanitized...), "-c", filepath.Join(src, "wt_sip.c"), "-o", hash)...)
		compiler := map[string]string{"c": "gcc", "c++": "g++"}[language]
		standard := map[string]string{"c": "-std=gnu99", "c++": "-std=gnu++11"}[language]
		args := append(append([]string{standard}, sanitized...), options...)
		run(t, compiler, append(args, "-x", language, filepath.Join("testdata", "puppet.c"), "-x", "none", hash, "-o", out)...)
	})
}
