package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fileKB returns how much of the files that are mapped is in memory.
func fileKB(t *testing.T) int {
	b, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	found := regexp.MustCompile(`RssFile:\s+(\d+) kB`).FindSubmatch(b)
	require.NotNil(t, found)
	n, err := strconv.Atoi(string(found[1]))
	require.NoError(t, err)
	return n
}

func TestTheMemoryOfTheStartIsGivenBack(t *testing.T) {
	before := fileKB(t)
	calm(t.Context(), 0)
	after := fileKB(t)
	assert.Less(t, after, before*3/4, "of the program's code")
	assert.Equal(t, "still works: 7", fmt.Sprintf("still works: %d", 7))
}

// While it reads its files the heap may grow more, but no longer.
func TestTheHeapGrowsByHalfOnceItServes(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), append([]string{"serve", "--open"}, anyPort...)...)
	res, err := http.Get(s.file("gateway.url") + "/metrics")
	require.NoError(t, err)
	defer res.Body.Close()
	metrics, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	assert.Contains(t, string(metrics), "\ngo_gc_gogc_percent 50\n")
}

// What was written to is never dropped, also where it is swapped out. Nor is anything where the two
// lists have different addresses, as under an emulator.
func TestWhatWasWrittenIsNotGivenBack(t *testing.T) {
	t.Parallel()
	var maps, smaps strings.Builder
	for i, m := range []struct{ rights, rss, anonymous, swap, file string }{
		{"r-xp", "4096", "0", "0", "/w"},
		{"r--p", "8", "4", "0", "/w"},  // relocated
		{"r--p", "8", "0", "4", "/w"},  // relocated, and swapped out
		{"r--p", "0", "0", "0", "/w"},  // nothing is there
		{"rw-p", "16", "0", "0", "/w"}, // data
		{"r-xp", "64", "0", "0", "/lib"},
		{"r--p", "128", "0", "0", "/w"},
	} {
		head := fmt.Sprintf("%d000-%d000 %s 00000000 fe:00 1  %s\n", i+1, i+2, m.rights, m.file)
		maps.WriteString(head)
		fmt.Fprintf(&smaps, "%sSize: 4096 kB\nRss: %s kB\nAnonymous: %s kB\nSwap: %s kB\nVmFlags: rd mr\n", head, m.rss, m.anonymous, m.swap)
	}
	assert.Equal(t, []mapping{{0x1000, 0x2000}, {0x7000, 0x8000}}, unwritten(strings.NewReader(smaps.String()), maps.String(), "/w"))
	assert.Empty(t, unwritten(strings.NewReader(smaps.String()), strings.ReplaceAll(maps.String(), "000 r", "800 r"), "/w"))
}
