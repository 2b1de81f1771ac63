package history

import "iter"

// ring is a queue of values in one block of memory. It goes round in the block, so a queue that
// keeps its length allocates nothing. The zero ring is empty, and has no block.
type ring[T any] struct {
	block        []T
	first, count int // where the oldest value is, and how many there are
}

// at returns a value: 0 is the oldest. The pointer is good until the next push, pop or trim.
func (q *ring[T]) at(i int) *T {
	if i += q.first; i >= len(q.block) {
		i -= len(q.block)
	}
	return &q.block[i]
}

// push adds a value, and returns where to write it. A full block becomes twice as large, but has
// room for no more than most values, of which there may be no more.
func (q *ring[T]) push(most int) *T {
	if q.count == len(q.block) {
		q.resize(min(max(1, 2*q.count), most))
	}
	q.count++
	return q.at(q.count - 1)
}

// pop removes the oldest value.
func (q *ring[T]) pop() {
	var none T
	q.block[q.first] = none
	q.count--
	if q.first++; q.first == len(q.block) {
		q.first = 0
	}
}

// trim gives memory back when at most an eighth of the block is in use, down to room for least
// values. With least 0 an empty ring has no block.
func (q *ring[T]) trim(least int) {
	n := len(q.block)
	for n > least && q.count <= n/8 {
		n /= 2
	}
	if n < len(q.block) {
		q.resize(n)
	}
}

// resize moves the values to a block with room for n.
func (q *ring[T]) resize(n int) {
	var block []T
	if n > 0 {
		block = make([]T, n)
	}
	for i := range q.count {
		block[i] = *q.at(i)
	}
	q.block, q.first = block, 0
}

// all are the values, the oldest first.
func (q *ring[T]) all() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for i := range q.count {
			if !yield(q.at(i)) {
				return
			}
		}
	}
}

// backward are the values, the newest first.
func (q *ring[T]) backward() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for i := q.count - 1; i >= 0; i-- {
			if !yield(q.at(i)) {
				return
			}
		}
	}
}
