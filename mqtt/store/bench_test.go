package store

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"watchtower/mqtt"
)

func rows(n, topics int) []mqtt.Row {
	picked := rand.Perm(topics)[:n]
	slices.Sort(picked)
	group := make([]mqtt.Row, n)
	for i, topic := range picked {
		group[i] = mqtt.Row{Table: mqtt.Retained, Key: fmt.Appendf(nil, "tele/house_%06d/sensor/STATE", topic), Value: make([]byte, 120)}
	}
	return group
}

// BenchmarkCommit writes one group: 2,500 of 100,000 topics, a quarter of a second at 10,000
// retained messages a second; and 20 of 1,000, as in a home.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct{ rows, topics int }{{2500, 100_000}, {20, 1000}} {
		b.Run(fmt.Sprintf("%d of %d", c.rows, c.topics), func(b *testing.B) {
			s, err := Open(filepath.Join(b.TempDir(), "broker.db"), silent())
			require.NoError(b, err)
			defer s.Close()
			require.NoError(b, s.Commit(rows(c.topics, c.topics)))
			for b.Loop() {
				b.StopTimer()
				group := rows(c.rows, c.topics)
				b.StartTimer()
				require.NoError(b, s.Commit(group))
			}
		})
	}
}

// BenchmarkLoad reads 100,000 rows.
func BenchmarkLoad(b *testing.B) {
	path := filepath.Join(b.TempDir(), "broker.db")
	s, err := Open(path, silent())
	require.NoError(b, err)
	require.NoError(b, s.Commit(rows(100_000, 100_000)))
	require.NoError(b, s.Close())
	for b.Loop() {
		s, err := Open(path, silent())
		require.NoError(b, err)
		n := 0
		require.NoError(b, s.Load(func(mqtt.Table, []byte, []byte) error { n++; return nil }))
		require.Equal(b, 100_000, n)
		require.NoError(b, s.Close())
	}
}
