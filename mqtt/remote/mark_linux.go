package remote

import "syscall"

const canMark = true

// setMark has the reader woken once so many bytes have come (socket(7), SO_RCVLOWAT). If it
// fails it is woken for each byte, as always.
func setMark(fd uintptr, bytes int) {
	_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVLOWAT, bytes)
}
