package main

import (
	"bytes"
	"strings"
	"testing"
)

// The check must find a known fault that is there: else finding nothing would mean nothing.
func TestAKnownFaultIsFound(t *testing.T) {
	var out bytes.Buffer
	err := check(t.Context(), "testdata/known", pinned, &out)
	if err == nil {
		t.Errorf("a module that calls a known fault passed:\n%s", &out)
	}
	if !strings.Contains(out.String(), "GO-2021-0113") {
		t.Errorf("the fault is not named: %v\n%s", err, &out)
	}
}
