package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatDoesNotCompileElsewhere(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":     "module x\n\ngo 1.26\n",
		"x.go":       "package x\n\nimport \"math\"\n\nconst Large = math.MaxUint32\n\nfunc Size() int { return Large }\n",
		"windows.go": "//go:build windows\n\npackage x\n\nimport \"syscall\"\n\nvar _ = syscall.Kill\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for platform, says := range map[string]string{
		"linux/amd64":   "",
		"linux/arm":     "x.go:7:",
		"windows/amd64": "undefined: syscall.Kill",
	} {
		var out bytes.Buffer
		faults, err := check(root, "./...", platform, &out)
		if err != nil {
			t.Fatal(err)
		}
		if faults > 0 != (says != "") || !strings.Contains(out.String(), says) {
			t.Errorf("%s: %d faults, %s", platform, faults, &out)
		}
	}
	if _, err := check(root, "./...", "arm", &bytes.Buffer{}); err == nil {
		t.Error("arm is no platform")
	}
}
