package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/bench"
)

func TestTheMemoryOfTheStartIsGivenBack(t *testing.T) {
	before := kilobytes(t, os.Getpid(), "RssFile") // of the files that are mapped
	giveBack()
	after := kilobytes(t, os.Getpid(), "RssFile")
	assert.Less(t, after, before*3/4, "of the program's code")
	assert.Equal(t, "still works: 7", fmt.Sprintf("still works: %d", 7))
}

// kilobytes returns a line of a process's status, such as VmRSS.
func kilobytes(t *testing.T, pid int, line string) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	found := regexp.MustCompile(line + `:\s+(\d+) kB`).FindSubmatch(b)
	require.NotNil(t, found)
	n, err := strconv.Atoi(string(found[1]))
	require.NoError(t, err)
	return n
}

func TestTheMemoryOfALoadIsGivenBack(t *testing.T) {
	t.Parallel()
	s := serveProgram(t, t.TempDir(), append([]string{"serve", "--open"}, anyPort...)...)
	url, pid := s.file("gateway.url"), s.cmd.Process.Pid
	ctx, end := context.WithCancel(t.Context())
	var load sync.WaitGroup
	load.Go(func() {
		_, _ = bench.Run(ctx, bench.Options{Publish: bench.HTTP, Receive: bench.HTTP, URL: url, Duration: time.Hour}.WithDefaults()) // until end
	})
	defer load.Wait()
	defer end()
	peak := 0
	require.Eventually(t, func() bool {
		peak = max(peak, kilobytes(t, pid, "VmRSS"))
		return collections(t, url) > 6
	}, time.Minute, 50*time.Millisecond)
	end()
	load.Wait()
	assert.Eventually(t, func() bool { return kilobytes(t, pid, "VmRSS") < peak*3/4 }, time.Minute, 50*time.Millisecond, "of %d kB", peak)
}

// collections returns how often a gateway has collected its garbage.
func collections(t *testing.T, url string) int {
	res, err := http.Get(url + "/metrics")
	require.NoError(t, err)
	defer res.Body.Close()
	metrics, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	found := regexp.MustCompile(`\ngo_gc_duration_seconds_count (\d+)\n`).FindSubmatch(metrics)
	require.NotNil(t, found)
	n, err := strconv.Atoi(string(found[1]))
	require.NoError(t, err)
	return n
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
