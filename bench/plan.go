package bench

// plan says which receivers get which messages. Channels are counted from 0 here. Message s
// of publisher p goes to channel (s+p) modulo the number of channels. So a receiver knows
// from the payload the channel, and which number comes next on it.
type plan struct {
	channels  int
	receivers int
	joinAll   bool
	everybody int // members of every channel besides: publishers that hear too
}

// joins returns the channels of a receiver: all; or one; or, if there are more channels than
// receivers, its share of them.
func (p plan) joins(receiver int) []int {
	var all []int
	switch {
	case p.joinAll:
		for c := range p.channels {
			all = append(all, c)
		}
	case p.channels <= p.receivers:
		all = append(all, receiver%p.channels)
	default:
		for c := receiver; c < p.channels; c += p.receivers {
			all = append(all, c)
		}
	}
	return all
}

// every returns all channels.
func (p plan) every() []int {
	p.joinAll = true
	return p.joins(0)
}

// fanOut returns how many receivers get a message on a channel: 1 or more.
func (p plan) fanOut(channel int) int {
	switch {
	case p.joinAll:
		return p.receivers + p.everybody
	case p.receivers == 0:
		return p.everybody
	case p.channels <= p.receivers:
		return (p.receivers-channel-1)/p.channels + 1 + p.everybody
	}
	return 1 + p.everybody
}

func (p plan) channel(publisher uint16, seq uint32) int {
	return int((uint64(seq) + uint64(publisher)) % uint64(p.channels))
}

// first returns the number of a publisher's first message on a channel.
func (p plan) first(publisher, channel int) uint32 {
	n := (channel - publisher) % p.channels
	if n < 0 {
		n += p.channels
	}
	return uint32(n)
}

// expected returns how many deliveries a publisher's first n messages make.
func (p plan) expected(publisher int, n uint64) (sum uint64) {
	for c := range p.channels {
		if first := uint64(p.first(publisher, c)); first < n {
			sum += ((n-first-1)/uint64(p.channels) + 1) * uint64(p.fanOut(c))
		}
	}
	return sum
}
