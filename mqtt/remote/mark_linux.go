package remote

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const canMark = true

// setMark has the reader woken once so many bytes have come (socket(7), SO_RCVLOWAT). If it
// fails it is woken for each byte, as always. The call does not block, so the scheduler is not told
// of it: that would wake the runtime's monitor.
func setMark(fd uintptr, bytes int) {
	value := int32(bytes)
	_, _, _ = syscall.RawSyscall6(unix.SYS_SETSOCKOPT, fd, syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, uintptr(unsafe.Pointer(&value)), unsafe.Sizeof(value), 0)
}
