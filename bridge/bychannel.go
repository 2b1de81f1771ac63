package bridge

import (
	"cmp"
	"slices"
)

// byChannel maps a few channels to values, ascending by channel. Most senders are on one
// or two channels: a map for each sender would be a third of its memory.
type byChannel[T any] []onChannel[T]

type onChannel[T any] struct {
	channel Channel
	v       T
}

func (b byChannel[T]) find(c Channel) (int, bool) {
	return slices.BinarySearchFunc(b, c, func(o onChannel[T], c Channel) int { return cmp.Compare(o.channel, c) })
}

// get returns what is held for a channel, or the zero value.
func (b byChannel[T]) get(c Channel) (v T) {
	if i, found := b.find(c); found {
		v = b[i].v
	}
	return v
}

// set holds something for a channel, in place of what was there.
func (b *byChannel[T]) set(c Channel, v T) {
	i, found := b.find(c)
	if !found {
		*b = slices.Insert(*b, i, onChannel[T]{channel: c})
	}
	(*b)[i].v = v
}

// remove forgets what is held for a channel.
func (b *byChannel[T]) remove(c Channel) {
	i, found := b.find(c)
	if !found {
		return
	}
	if *b = slices.Delete(*b, i, i+1); len(*b) == 0 {
		*b = nil
	}
}
