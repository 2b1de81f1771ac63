package mqtt

// fifo is a queue that gives its room back when it has emptied.
type fifo[T any] struct {
	items []T
	head  int
}

func (q *fifo[T]) len() int    { return len(q.items) - q.head }
func (q *fifo[T]) push(v T)    { q.items = append(q.items, v) }
func (q *fifo[T]) at(i int) *T { return &q.items[q.head+i] }

func (q *fifo[T]) pop() T {
	v := q.items[q.head]
	q.removeAt(0)
	return v
}

// removeAt removes the i-th of what waits; the first is cheap.
func (q *fifo[T]) removeAt(i int) {
	var zero T
	if i > 0 {
		copy(q.items[q.head+i:], q.items[q.head+i+1:])
		q.items[len(q.items)-1] = zero
		q.items = q.items[:len(q.items)-1]
		return
	}
	q.items[q.head] = zero
	q.head++
	switch {
	case q.head == len(q.items) && cap(q.items) > 64:
		q.items, q.head = nil, 0
	case q.head == len(q.items):
		q.items, q.head = q.items[:0], 0
	case q.head > 1024 && q.head*2 > len(q.items):
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
}
