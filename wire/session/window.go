package session

import "watchtower/wire/frame"

// windowSize is how far behind the newest a number may be (docs/protocol.md, "Numbers").
const windowSize = 64

// window knows which numbers were taken.
type window struct {
	newest uint32
	taken  uint64 // bit i: newest-i
}

// fresh reports whether a number may be executed.
func (w *window) fresh(seq uint32) bool {
	switch {
	case seq == 0:
		return false
	case seq > w.newest:
		return true
	}
	behind := w.newest - seq
	return behind < windowSize && w.taken>>behind&1 == 0
}

// take marks a fresh number.
func (w *window) take(seq uint32) {
	if seq > w.newest {
		w.taken = w.taken<<(seq-w.newest) | 1 // a shift of 64 and more leaves 0
		w.newest = seq
		return
	}
	w.taken |= 1 << (w.newest - seq)
}

// recent reports whether a number is in the window and was taken.
func (w *window) recent(seq uint32) bool {
	return seq != 0 && seq <= w.newest && w.newest-seq < windowSize && !w.fresh(seq)
}

// answer is the result of a request.
type answer struct {
	seq  uint32
	op   frame.Op
	code frame.Code

	confirmed, of byte // of a message that waits until others say the same; 0: it is done
}

// answerTo returns the answer to a request, and the result that it is not to keep.
func answerTo(f frame.Frame, code frame.Code, result []byte) (answer, []byte) {
	a := answer{seq: f.Seq, op: f.Op, code: code}
	if silent(f.Op) && len(result) == 2 {
		a.confirmed, a.of, result = result[0], result[1], nil
	}
	return a, result
}

// append appends the answer's frame. A repetition is the same, byte for byte.
func (a answer) append(b []byte, c *core, result []byte) []byte {
	begin := len(b)
	if a.of > 0 {
		result = []byte{a.confirmed, a.of}
	}
	if a.code != frame.OK {
		b = frame.AppendError(b, c.id, a.seq, a.op, a.code, c.key)
	} else {
		b = frame.AppendAnswer(b, c.id, a.seq, a.op, c.key, result...)
	}
	c.hide(b[begin:])
	return b
}

// answers are the last eight answers. Those to l and u are not kept: such a request is
// executed again.
type answers struct {
	ring [8]answer
	next uint8
}

func (as *answers) add(a answer) {
	as.ring[as.next] = a
	as.next = (as.next + 1) % uint8(len(as.ring))
}

func (as *answers) find(seq uint32) (answer, bool) {
	for _, a := range as.ring {
		if a.seq == seq && a.op != 0 {
			return a, true
		}
	}
	return answer{}, false
}

// verdict is what becomes of a request because of its number (docs/protocol.md, "Numbers").
type verdict int

const (
	fresh    verdict = iota // execute it
	again                   // execute it again: an l or u
	answered                // repeat the answer
	stale                   // drop it
)

// judge checks a request's number, and does not take it yet.
func (c *core) judge(f frame.Frame) (verdict, answer) {
	if c.seen.fresh(f.Seq) {
		return fresh, answer{}
	}
	if a, ok := c.answers.find(f.Seq); ok {
		return answered, a
	}
	if repeatable(f.Op) && c.seen.recent(f.Seq) {
		return again, answer{}
	}
	return stale, answer{}
}
