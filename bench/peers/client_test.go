package main

import (
	"net"
	"strings"
	"testing"
)

// Lengths under and over 127 bytes have one byte and two (MQTT 3.1.1, section 2.2.3).
func TestPacketsOfBothLengths(t *testing.T) {
	for _, n := range []int{0, 127, 128, 300} {
		here, there := net.Pipe()
		body := strings.Repeat("x", n)
		go func() { _ = client{here}.say(0x30, body) }() // ends once it was heard, or with the pipe
		first, got, err := client{there}.hear()
		if err != nil || first != 0x30 || string(got) != body {
			t.Errorf("%d bytes: %x, %d bytes, %v", n, first, len(got), err)
		}
		here.Close()
		there.Close()
	}
}

// What fails ends the work, and its error is told.
func TestTogether(t *testing.T) {
	done := make([]bool, 1000)
	if err := together(t.Context(), 7, len(done), func(i int) error { done[i] = true; return nil }); err != nil {
		t.Fatal(err)
	}
	for i, d := range done {
		if !d {
			t.Errorf("%d was left out", i)
		}
	}
	err := together(t.Context(), 7, len(done), func(i int) error {
		if i == 500 {
			return errNothing
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), errNothing.Error()) {
		t.Errorf("the error is %v", err)
	}
}
