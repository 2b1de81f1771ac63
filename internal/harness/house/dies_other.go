//go:build !linux

package house

import "syscall"

func dies() *syscall.SysProcAttr { return nil }
