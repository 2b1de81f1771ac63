package outbound

import "sync"

// pooled is the largest capacity, in elements, of an array that goes back to its pool.
const pooled = 1 << 13

// Pool holds the backing arrays of empty fifos: so a fifo that fills and empties all the
// time makes no garbage, and an idle one holds no memory.
type Pool[T any] struct{ arrays sync.Pool }

func (p *Pool[T]) get() *[]T {
	if a, ok := p.arrays.Get().(*[]T); ok {
		return a
	}
	a := make([]T, 0, 8)
	return &a
}

// giveBack takes an array back. Its elements are zero.
func (p *Pool[T]) giveBack(a *[]T) {
	if cap(*a) <= pooled {
		p.arrays.Put(a)
	}
}

// Fifo is a queue without a lock. Its zero value is empty, and ready to use once From is
// set. Many fifos share one pool.
type Fifo[T any] struct {
	From  *Pool[T]
	array *[]T // nil: the fifo is empty
	head  int  // elements before it have been removed
}

// Len returns how many elements there are.
func (q *Fifo[T]) Len() int {
	if q.array == nil {
		return 0
	}
	return len(*q.array) - q.head
}

// At returns the i-th element; 0 is the oldest.
func (q *Fifo[T]) At(i int) *T { return &(*q.array)[q.head+i] }

// Push adds a copy of an element.
func (q *Fifo[T]) Push(v *T) {
	if q.array == nil {
		q.array = q.From.get()
	}
	*q.array = append(*q.array, *v)
}

// RemoveAt removes the i-th element. To remove the oldest is cheap.
func (q *Fifo[T]) RemoveAt(i int) {
	var zero T
	a := *q.array
	if i > 0 {
		copy(a[q.head+i:], a[q.head+i+1:])
		a[len(a)-1] = zero
		*q.array = a[:len(a)-1]
		return
	}
	a[q.head] = zero
	q.head++
	switch {
	case q.head == len(a):
		q.release()
	case q.head > 1024 && q.head*2 > len(a):
		n := copy(a, a[q.head:])
		clear(a[n:])
		*q.array, q.head = a[:n], 0
	}
}

// Clear removes all elements.
func (q *Fifo[T]) Clear() {
	if q.array != nil {
		clear((*q.array)[q.head:])
		q.release()
	}
}

func (q *Fifo[T]) release() {
	*q.array = (*q.array)[:0]
	q.From.giveBack(q.array)
	q.array, q.head = nil, 0
}
