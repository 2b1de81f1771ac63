package bridge

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestByChannelIsAMap(t *testing.T) {
	var b byChannel[int]
	want := map[Channel]int{}
	for i := range 10_000 {
		c := Channel(rand.IntN(50) + 1)
		switch rand.IntN(3) {
		case 0:
			b.remove(c)
			delete(want, c)
		default:
			b.set(c, i)
			want[c] = i
		}
		require.Equal(t, want[c], b.get(c))
		require.Len(t, b, len(want))
	}
	var channels []Channel
	for _, on := range b {
		channels = append(channels, on.channel)
		require.Equal(t, want[on.channel], on.v)
	}
	require.Equal(t, slices.Sorted(maps.Keys(want)), channels)
	for c := range want {
		b.remove(c)
	}
	require.Nil(t, b)
}
