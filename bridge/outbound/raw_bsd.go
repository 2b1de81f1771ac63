//go:build unix && !linux

package outbound

import "syscall"

func write(fd uintptr, b []byte) (int, syscall.Errno) {
	n, err := syscall.Write(int(fd), b)
	if err == nil {
		return n, 0
	}
	if code, ok := err.(syscall.Errno); ok {
		return n, code
	}
	return n, syscall.EIO
}
