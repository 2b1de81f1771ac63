//go:build !race

// Only one goroutine runs: the race detector has nothing to find.

package mqtt

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"watchtower/internal/harness"
)

// randomPath makes paths that often share levels, empty ones among them.
func randomPath(most int, from []string) string {
	all := make([]string, 1+rand.IntN(most))
	for i := range all {
		if all[i] = from[rand.IntN(len(from))]; all[i] == "#" {
			return strings.Join(all[:i+1], "/")
		}
	}
	return strings.Join(all, "/")
}

// After any changes, the tree finds the same as a comparison one by one, in both directions,
// and has counted its memory.
func TestLevelsAreAsAListWouldBe(t *testing.T) {
	t.Parallel()
	names := []string{"a", "b", "ab", "", "$a", "c", "d", "e", "f", "g", "h", "i"}
	wild := append([]string{"+", "+", "#"}, names...)
	for _, of := range []struct {
		name string
		from []string
	}{{"filters", wild}, {"topics", names}} {
		t.Run(of.name, func(t *testing.T) {
			var tree levels[string]
			tree.bytes = tree.root.size()
			held := map[string]bool{}
			for range 3000 {
				path := randomPath(5, of.from)
				if tree.get(path) != nil != held[path] {
					t.Fatalf("get %q", path)
				}
				if rand.IntN(3) == 0 {
					tree.remove(path)
					delete(held, path)
				} else {
					tree.set(path, &path)
					held[path] = true
				}
				other := randomPath(5, names)
				find := tree.ofTopic
				matches := func(path string) bool { return covers(strings.Split(path, "/"), strings.Split(other, "/")) }
				if of.name == "topics" {
					other = randomPath(5, wild)
					find = tree.ofFilter
					matches = func(path string) bool { return covers(strings.Split(other, "/"), strings.Split(path, "/")) }
				}
				var got, want []string
				find(other, func(v *string) { got = append(got, *v) })
				for path := range held {
					if matches(path) {
						want = append(want, path)
					}
				}
				slices.Sort(got)
				slices.Sort(want)
				require.Equal(t, want, got, other)
				levelsAreRight(t, &tree, held, randomPath(4, names))
			}
			require.Equal(t, weigh(&tree.root), tree.bytes)
			for path := range held {
				tree.remove(path)
			}
			assert.Equal(t, tree.root.size(), tree.bytes)
			assert.Zero(t, tree.root.children())
		})
	}
}

// A node that is left with one child takes over that child's children, however many.
func TestAPathThatGoesLeavesItsNeighbours(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, fewest, fewest + 1, 100} {
		var tree levels[string]
		tree.bytes = tree.root.size()
		gone := "house/roof"
		tree.set(gone, &gone)
		for i := range n {
			path := fmt.Sprint("house/rooms/", i)
			tree.set(path, &path)
		}
		tree.remove(gone)
		found := 0
		tree.ofFilter("#", func(*string) { found++ })
		assert.Equal(t, n, found)
		for i := range n {
			path := fmt.Sprint("house/rooms/", i)
			if v := tree.get(path); assert.NotNil(t, v, path) {
				assert.Equal(t, path, *v)
			}
		}
		assert.Equal(t, weigh(&tree.root), tree.bytes)
	}
}

// levelsAreRight compares the levels below a path, and below nothing, with a list.
func levelsAreRight(t *testing.T, tree *levels[string], held map[string]bool, path string) {
	for _, prefix := range []string{"", path + "/"} {
		got, want := map[string]level[string]{}, map[string]level[string]{}
		tree.levelsBelow(prefix, func(l level[string]) {
			require.NotContains(t, got, l.name)
			got[l.name] = l
		})
		for path := range held {
			rest, ok := strings.CutPrefix(path, prefix)
			if !ok {
				continue
			}
			l := level[string]{name: firstLevel(rest)}
			l.below, l.value = want[l.name].below, want[l.name].value
			if l.name == rest {
				l.value = &path
			} else {
				l.below++
			}
			want[l.name] = l
		}
		require.Equal(t, want, got, "below %q", prefix)
	}
}

func weigh(b *branch[string]) int {
	n := b.size()
	b.each(func(c *branch[string]) { n += weigh(c) })
	return n
}

func TestLevelsTakeWhatTheySay(t *testing.T) {
	deep := func(i int) string { return fmt.Sprint(i, strings.Repeat("/x", 198)) }
	for name, path := range map[string]func(i int) string{
		"flat":            func(i int) string { return fmt.Sprint("r/", i) },
		"a house":         func(i int) string { return fmt.Sprintf("house/floor%d/room%d/sensor%d/state", i%5, i%50, i) },
		"deep":            deep,
		"deep and shared": func(i int) string { return strings.Repeat("x/", 198) + fmt.Sprint(i) },
		"few under each":  func(i int) string { return fmt.Sprintf("%d/%d/%d/%d", i%10, i/10%10, i/100%10, i) },
		"a ladder":        func(i int) string { return strings.Repeat("x/", i%199) + fmt.Sprint(i) },
	} {
		t.Run(name, func(t *testing.T) {
			const n = 20_000
			paths := make([]string, n)
			for i := range paths {
				paths[i] = path(i)
			}
			v := "v"
			before := harness.Heap(t)
			tree := &levels[string]{}
			for _, p := range paths {
				tree.set(p, &v)
			}
			held := harness.Heap(t) - before
			assert.InDelta(t, 1, float64(tree.bytes)/float64(held), 0.25, "%d counted, %d held", tree.bytes, held)
			runtime.KeepAlive(paths)
			runtime.KeepAlive(tree)
		})
	}
}
