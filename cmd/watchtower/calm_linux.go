package main

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// dropCode gives back the pages of the program's code and constants, of which a running gateway uses
// a fifth. The system reads back those that are used from its cache.
func dropCode() {
	for _, m := range codeMappings() {
		_, _, _ = syscall.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED) // at worst nothing is given back
	}
}

// mapping is a range of addresses.
type mapping struct{ from, to uintptr }

// codeMappings returns those of the program's own file that nobody may write to and nobody
// has written to. To drop their pages changes nothing.
func codeMappings() []mapping {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil
	}
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return nil
	}
	defer smaps.Close() //nolint:errcheck // it was only read
	return unwritten(smaps, string(maps), program)
}

// unwritten returns the mappings of a file that can be dropped, by proc_pid_smaps(5). A page that was
// written to, as relocated constants are, is anonymous, or swapped out. The list without sizes has to
// have the same addresses: QEMU 7.2 gives a program its own addresses there, and those of
// the machine below it in the list with sizes.
func unwritten(smaps io.Reader, maps, file string) (all []mapping) {
	var m mapping
	candidate, signs := false, 0
	for lines := bufio.NewScanner(smaps); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		switch {
		case len(fields) == 6 && strings.Contains(fields[0], "-"):
			var ok bool
			m, ok = parseMapping(fields[0])
			candidate = ok && fields[5] == file && strings.HasPrefix(fields[1], "r-") && strings.Contains("\n"+maps, "\n"+fields[0]+" "+fields[1])
			signs = 0
		case !candidate || len(fields) < 2:
		case fields[0] == "Rss:" && fields[1] != "0", (fields[0] == "Anonymous:" || fields[0] == "Swap:") && fields[1] == "0":
			if signs++; signs == 3 {
				all = append(all, m)
			}
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
