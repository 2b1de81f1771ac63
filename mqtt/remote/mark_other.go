//go:build !linux

package remote

const canMark = false

func setMark(uintptr, int) {}
