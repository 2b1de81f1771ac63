package mqtt

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
)

// A delivery changes one cache line of a session, and reads the next.
func TestASessionsHotFieldsAreTogether(t *testing.T) {
	t.Parallel()
	const line = 64
	s := &session{}
	assert.Less(t, unsafe.Offsetof(s.left), uintptr(line), "with all before it")
	assert.EqualValues(t, line, unsafe.Offsetof(s.lent), "begins the next")
	assert.LessOrEqual(t, unsafe.Offsetof(s.lastSeq)+8, uintptr(2*line))
	assert.EqualValues(t, 2*line, unsafe.Offsetof(s.inflight), "what its writer changes begins the third")
	assert.LessOrEqual(t, unsafe.Offsetof(s.stale), uintptr(3*line))
	assert.EqualValues(t, 32, unsafe.Sizeof(delivery{}))
	assert.LessOrEqual(t, unsafe.Sizeof(message{}), uintptr(160), "one byte more costs 16")
	all := make([]*session, 100)
	for i := range all {
		all[i] = &session{}
		assert.Zero(t, uintptr(unsafe.Pointer(all[i]))%line, "the allocator puts it at the start of a line")
	}
}
