package main

import "os"

// interrupt ends a process: one cannot ask it to, on Windows.
func interrupt(p *os.Process) error { return p.Kill() }
