package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fileKB returns how much of the files that are mapped is in memory.
func fileKB(t *testing.T) int {
	b, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	found := regexp.MustCompile(`RssFile:\s+(\d+) kB`).FindSubmatch(b)
	require.NotNil(t, found)
	n, err := strconv.Atoi(string(found[1]))
	require.NoError(t, err)
	return n
}

func TestTheMemoryOfTheStartIsGivenBack(t *testing.T) {
	before := fileKB(t)
	calm(t.Context(), 0)
	after := fileKB(t)
	assert.Less(t, after, before*3/4, "of the program's code")
	assert.Equal(t, "still works: 7", fmt.Sprintf("still works: %d", 7))
}
