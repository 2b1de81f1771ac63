package house

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

func (h *House) logFile() string { return filepath.Join(h.dir, "log") }

func (h *House) whole() string {
	b, _ := os.ReadFile(h.logFile()) // none before the first start
	return string(b)
}

// Log is what it has logged since the test began: warnings and errors.
func (h *House) Log() string { return h.whole()[h.began:] }

// Allow lets lines of the log that have one of these texts in them be no fault.
func (h *House) Allow(texts ...string) { h.allowed = append(h.allowed, texts...) }

var entry = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ (WARNING|ERROR|CRITICAL) `)

// Words lists the warnings and errors of the log that have to do with MQTT or the gateway,
// each with its further lines, without those that are allowed.
func (h *House) Words() (words []string) {
	for line := range strings.Lines(h.Log()) {
		if entry.MatchString(line) || len(words) == 0 {
			words = append(words, line)
		} else {
			words[len(words)-1] += line
		}
	}
	kept := words[:0]
	for _, word := range words {
		small := strings.ToLower(word)
		about := entry.MatchString(word) && (strings.Contains(small, "mqtt") || strings.Contains(small, "watchtower"))
		for _, allowed := range h.allowed {
			about = about && !strings.Contains(word, allowed)
		}
		if about {
			kept = append(kept, strings.TrimSpace(word))
		}
	}
	return kept
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }
