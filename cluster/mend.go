package cluster

import (
	"context"
	"encoding/binary"
	"time"

	"watchtower/bridge"
)

// A request to a gateway, and its answer:
//
//	frames:  1 | run u64 | from u64 | to u64     → length u32, frame | …
//	members: 2 | channel u32 | sender u32        → members entries after that one; fewer than askMembers: no more
const (
	askFrames  = 1
	askMembers = 2
)

const (
	answerBytes   = 512 << 10
	membersAsked  = 4096 // in one answer: 350 KiB at most
	askPatience   = 500 * time.Millisecond
	membersRounds = 1 << 12
)

// answer answers another gateway.
func (n *Node) answer(request []byte) []byte {
	c := cursor{b: request}
	switch c.byte() {
	case askFrames:
		run, from, to := c.uint64(), c.uint64(), c.uint64()
		if !c.bad {
			return n.stream.again(run, from, to)
		}
	case askMembers:
		after := bridge.PeerMember{Channel: bridge.Channel(c.number()), Sender: bridge.SenderID(c.number())}
		if !c.bad {
			var b []byte
			for _, m := range n.hub.Peers().Members(after, membersAsked) {
				b = appendMember(b, m)
			}
			return append(b, byte(kindState), 0) // an answer is never empty
		}
	}
	return nil
}

// ask asks the origin, again and again until it is gone.
func (o *origin) ask(ctx context.Context, request []byte) []byte {
	for ctx.Err() == nil && !o.silent() {
		answer, err := o.node.transport.Request(ctx, o.slot, request, askPatience)
		if err == nil {
			return answer
		}
		pause(ctx, retry) // some errors come at once
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// mendPause is between two frames that were missed. Some thousand messages in one moment would
// overrun the queues of members that take some hundred.
const mendPause = 2 * time.Millisecond

// mend asks for the frames before a number, and delivers them. Frames that come meanwhile wait.
func (o *origin) mend(ctx context.Context, to uint64) {
	o.mending = true
	defer func() { o.mending = false }()
	for o.next < to {
		request := []byte{askFrames}
		for _, v := range []uint64{o.run, o.next, to} {
			request = binary.BigEndian.AppendUint64(request, v)
		}
		answer := o.ask(ctx, request)
		was := o.next
		for len(answer) >= 4 {
			length := int(binary.BigEndian.Uint32(answer))
			if length > len(answer)-4 {
				break
			}
			f, err := readFrame(answer[4 : 4+length])
			answer = answer[4+length:]
			if err != nil || f.run != o.run || f.slot != o.slot {
				break
			}
			if f.first > o.next {
				o.lose(f.first - o.next)
				o.next = f.first
				was = o.next
			}
			o.deliver(f)
			pause(ctx, mendPause)
		}
		if o.next <= was {
			return
		}
		o.stats.resent.Add(o.next - was)
	}
}

// sync asks for all members of the origin.
func (o *origin) sync(ctx context.Context) {
	o.asked = time.Now()
	var all []bridge.PeerMember
	var after bridge.PeerMember
	for range membersRounds {
		request := binary.AppendUvarint([]byte{askMembers}, uint64(after.Channel))
		answer := o.ask(ctx, binary.AppendUvarint(request, uint64(after.Sender)))
		if len(answer) == 0 {
			return // and again with a later frame
		}
		some := 0
		for rest := answer; len(rest) > 0; {
			k, body, next, ok := readEntry(rest)
			if !ok {
				return
			}
			rest = next
			if m, ok := readMember(body); ok && k == kindMember {
				all, after = append(all, m), m
				some++
			}
		}
		if some < membersAsked {
			break
		}
	}
	o.node.hub.Peers().Replace(o.slot, *o.name.Load(), all)
	o.synced = true
}
