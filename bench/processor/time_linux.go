package processor

import (
	"time"

	"golang.org/x/sys/unix"
)

// Time returns the processor time of a process, by its clock (clock_getcpuclockid(3)).
// That counts nanoseconds, where /proc counts hundredths of a second.
func Time(pid int) (time.Duration, error) {
	const schedule = 2 // CPUCLOCK_SCHED, of the kernel's include/linux/posix-timers_types.h
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|schedule), &t); err != nil {
		return 0, err
	}
	return time.Duration(t.Nano()), nil
}
