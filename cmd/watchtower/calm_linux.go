package main

import (
	"bufio"
	"context"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// calm gives back, some time after the start, the memory that only the start needed: its garbage, and the pages of the
// program's code and constants, of which a running gateway uses a fifth. The system reads
// back those that are used from its cache.
func calm(ctx context.Context, after time.Duration) {
	select {
	case <-ctx.Done():
		return
	case <-time.After(after):
	}
	debug.FreeOSMemory()
	for _, m := range codeMappings() {
		_, _, _ = syscall.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED) // at worst nothing is given back
	}
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// codeMappings returns those of the program's own file that nobody may write to and nobody
// has written to (proc_pid_smaps(5)). To drop their pages changes nothing.
func codeMappings() (all []mapping) {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	file, err := os.Open("/proc/self/smaps")
	if err != nil {
		return nil
	}
	defer file.Close() //nolint:errcheck // it was only read
	candidate := false
	for lines := bufio.NewScanner(file); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 6 && strings.Contains(fields[0], "-"):
			m, ok := parseMapping(fields[0])
			if candidate = ok && fields[5] == program && strings.HasPrefix(fields[1], "r-"); candidate {
				all = append(all, m)
			}
		case candidate && fields[0] == "Anonymous:" && fields[1] != "0":
			all, candidate = all[:len(all)-1], false // as relocated constants
		}
	}
	return all
}

// parseMapping reads a range as in 00400000-00c2b000.
func parseMapping(text string) (m mapping, ok bool) {
	from, to, _ := strings.Cut(text, "-")
	a, err := strconv.ParseUint(from, 16, 64)
	b, err2 := strconv.ParseUint(to, 16, 64)
	return mapping{uintptr(a), uintptr(b)}, err == nil && err2 == nil && a < b
}
