package main

import (
	"os"
	"os/exec"
	"strings"
)

// shellQuote writes s as one word of a POSIX shell. The word also holds inside
// "$(…)". An exclamation mark is kept out of the quotes: an interactive shell
// would take it for its history there.
func shellQuote(s string) string {
	plain := s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !letter && !strings.ContainsRune("_-+=:,./@%", r)
	})
	if plain {
		return s
	}
	return "'" + strings.NewReplacer("'", `'\''`, "!", `'\!'`).Replace(s) + "'"
}

// thisProgram is how to call this program in another terminal: by its name
// where PATH leads to it, by go run where that built it for one run, else by its path.
func thisProgram() string {
	path, err := os.Executable()
	if err != nil {
		return "watchtower"
	}
	if named, err := exec.LookPath("watchtower"); err == nil && sameFile(named, path) {
		return "watchtower"
	}
	if strings.Contains(path, "/go-build") && strings.Contains(path, "/exe/") {
		return "go run ./cmd/watchtower"
	}
	return shellQuote(path)
}

func sameFile(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}
