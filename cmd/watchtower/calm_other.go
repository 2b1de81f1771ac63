//go:build !linux

package main

// dropCode does nothing on this system.
func dropCode() {}
