package main

import (
	"os"
	"os/exec"
	"strings"
)

// shellQuote writes s as one word of a POSIX shell, which also works inside "$(…)". An
// exclamation mark stands outside the quotes: inside, an interactive shell would replace
// it from its history.
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

// thisProgram returns the command that runs this program in another terminal: its name if
// PATH leads to it, go run if that started it, else its path.
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
