package bench

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// These functions read /proc (proc(5)). On a system without it they find nothing.

// resident returns the resident memory of a process in bytes.
func resident(pid int) (uint64, error) { return memory(pid, "VmRSS") }

// anonymous returns that part of it which is no page of a file, as those of the program's code are.
func anonymous(pid int) (uint64, error) { return memory(pid, "RssAnon") }

// memory returns what a line of a process's status says, in bytes.
func memory(pid int, name string) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		var kib uint64
		if _, err := fmt.Sscanf(line, name+": %d kB", &kib); err == nil {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("/proc/%d/status: no %s", pid, name)
}

// socket is a line of /proc/net/tcp or udp.
type socket struct {
	port  int
	state string
	inode string
	drops uint64 // of udp: datagrams for which there was no room
}

const listening = "0A"

func sockets(network string) (all []socket) {
	for _, file := range []string{"/proc/net/" + network, "/proc/net/" + network + "6"} {
		b, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) < 10 {
				continue
			}
			_, hex, _ := strings.Cut(f[1], ":")
			port, err := strconv.ParseUint(hex, 16, 16)
			if err != nil {
				continue
			}
			s := socket{port: int(port), state: f[3], inode: f[9]}
			if len(f) == 13 {
				s.drops, _ = strconv.ParseUint(f[12], 10, 64)
			}
			all = append(all, s)
		}
	}
	return all
}

// udpDrops returns, by port, how many datagrams were dropped because the buffers of this
// machine's UDP sockets were full.
func udpDrops() map[int]uint64 {
	all := map[int]uint64{}
	for _, s := range sockets("udp") {
		all[s.port] += s.drops
	}
	return all
}

// findPID looks for the process on this machine that listens at an address. It
// returns 0 if there is none that it may see.
func findPID(network, address string) int {
	host, text, err := net.SplitHostPort(address)
	port, err2 := strconv.Atoi(text)
	if err != nil || err2 != nil || !local(host) {
		return 0
	}
	for _, s := range sockets(network) {
		if s.port == port && (network == "udp" || s.state == listening) {
			if pid := owner(s.inode); pid != 0 && pid != os.Getpid() {
				return pid
			}
		}
	}
	return 0
}

// local reports whether a host is this machine.
func local(host string) bool {
	ips, err := net.LookupIP(host)
	if err != nil || len(ips) == 0 {
		return false
	}
	own, _ := net.InterfaceAddrs() // without them, only loopback is known
	for _, a := range own {
		if n, ok := a.(*net.IPNet); ok && n.IP.Equal(ips[0]) {
			return true
		}
	}
	return ips[0].IsLoopback()
}

func owner(inode string) int {
	want := "socket:[" + inode + "]"
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*") // the pattern is right
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && to == want {
			pid, _ := strconv.Atoi(strings.Split(link, "/")[2])
			return pid
		}
	}
	return 0
}
