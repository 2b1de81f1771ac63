package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMemoryIsGivenBackAtRest(t *testing.T) {
	t.Parallel()
	var r rest
	for i, second := range []struct {
		allocated uint64
		back      bool
	}{
		{20 * worthBytes, false},               // the start
		{20*worthBytes + restBytes, true},      // a rest
		{21*worthBytes - 1, false},             // a little
		{21*worthBytes - 1, false},             // is not worth it
		{23 * worthBytes, false},               // a load
		{25 * worthBytes, false},               // goes on
		{25*worthBytes + restBytes, true},      // and is over
		{25*worthBytes + restBytes, false},     // once
		{27 * worthBytes, false},               // another
		{27*worthBytes + restBytes + 1, false}, // is no rest
		{27*worthBytes + restBytes + 2, true},
	} {
		assert.Equal(t, second.back, r.over(second.allocated), "second %d", i)
	}
}

func TestWhatIsAllocatedIsCounted(t *testing.T) {
	before := allocated()
	sink = make([]byte, worthBytes)
	assert.GreaterOrEqual(t, allocated()-before, uint64(worthBytes))
}

var sink []byte
