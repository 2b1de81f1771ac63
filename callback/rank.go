package callback

import (
	"container/heap"
)

// rank is a heap whose members know their places in it.
type rank[T any] struct {
	members []T
	before  func(a, b T) bool
	place   func(T) *int // from 1; 0: not a member
}

func (r *rank[T]) add(m T) { heap.Push(r, m) }

// moved restores the order after a member changed.
func (r *rank[T]) moved(m T) {
	if at := *r.place(m); at > 0 {
		heap.Fix(r, at-1)
	}
}

func (r *rank[T]) remove(m T) {
	if at := *r.place(m); at > 0 {
		heap.Remove(r, at-1)
	}
}

// Len, Less, Swap, Push and Pop implement heap.Interface.
func (r *rank[T]) Len() int           { return len(r.members) }
func (r *rank[T]) Less(i, j int) bool { return r.before(r.members[i], r.members[j]) }

func (r *rank[T]) Swap(i, j int) {
	r.members[i], r.members[j] = r.members[j], r.members[i]
	*r.place(r.members[i]), *r.place(r.members[j]) = i+1, j+1
}

func (r *rank[T]) Push(m any) {
	r.members = append(r.members, m.(T))
	*r.place(r.members[len(r.members)-1]) = len(r.members)
}

func (r *rank[T]) Pop() any {
	var none T
	last := len(r.members) - 1
	m := r.members[last]
	r.members[last] = none
	r.members = r.members[:last]
	*r.place(m) = 0
	return m
}
