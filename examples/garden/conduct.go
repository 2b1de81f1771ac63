package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// conductor plays a score to valves.
type conductor struct {
	score   score
	hold    time.Duration
	wait    time.Duration // for the valves' answers, before the first note and after the last
	out     io.Writer
	channel *channel
	mark    string // tells it from other conductors; the lesser one began earlier

	players map[string]*player
	others  map[string]bool // valves that the score does not name
	began   time.Time
}

func runConduct(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("conduct", flag.ContinueOnError)
	url := flags.String("url", "http://localhost:8080", "the gateway's `URL`")
	key := flags.String("key", "", "the gateway's secret key; that of the gateway on this machine")
	number := flags.Uint("channel", 5, "the channel of the valves")
	name := flags.String("name", "conductor", "the conductor's name")
	valves := flags.String("valves", "", "valves, with commas, in place of the names of the score's tracks")
	speed := flags.Float64("speed", 1, "how much faster to play, 0.1 to 100")
	hold := flags.Duration("hold", 3*time.Second, "after which a valve closes that hears nothing, in whole seconds")
	wait := flags.Duration("wait", 3*time.Second, "for how long valves may not answer, before the first note")
	longest := flags.Duration("longest", time.Hour, "the longest score")
	dry := flags.Bool("dry-run", false, "show what would be played, ask whether the valves are there, and open none")
	file, err := parse(flags, args, "score")
	if err != nil {
		return err
	}
	r := reading{speed: *speed, longest: *longest}
	if *valves != "" {
		r.valves = strings.Split(*valves, ",")
	}
	switch {
	case !(*speed >= 0.1 && *speed <= 100):
		return fmt.Errorf("-speed must be from 0.1 to 100, is %g", *speed)
	case *hold < time.Second || *hold > mostHold || *hold%time.Second != 0:
		return fmt.Errorf("-hold must be whole seconds, from 1s to %v, is %v", mostHold, *hold)
	case *number == 0 || *number > 1<<32-1:
		return fmt.Errorf("-channel must be from 1 to 4294967295")
	}
	c := &conductor{mark: strconv.FormatInt(time.Now().UnixNano(), 36) + "-" + strconv.Itoa(os.Getpid()), hold: *hold, wait: *wait, out: out, players: map[string]*player{}, others: map[string]bool{}}
	if c.score, err = open(file, r); err != nil {
		return err
	}
	for _, v := range c.score.valves {
		c.players[v] = &player{name: v}
	}
	if *dry {
		c.plan()
	}
	if c.channel, err = joinChannel(ctx, strings.TrimRight(*url, "/"), secretKey(*key), *name, uint32(*number)); err != nil {
		return err
	}
	defer c.channel.close()
	if err := c.call(ctx, file); err != nil || *dry {
		return err
	}
	return c.play(ctx)
}

// open reads the file of a score. Errors name it.
func open(file string, r reading) (score, error) {
	f, err := os.Open(file)
	if err != nil {
		return score{}, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, scoreBytes+1))
	if err != nil {
		return score{}, err
	}
	s, err := r.read(data)
	if err != nil {
		return score{}, fmt.Errorf("%s: %w", file, err)
	}
	return s, nil
}

// plan shows what is going to be played.
func (c *conductor) plan() {
	for _, n := range c.score.notes {
		fmt.Fprintf(c.out, "%7.3f s  %-12s for %.3f s\n", n.on.Seconds(), n.valve, (n.off - n.on).Seconds())
	}
}

var errGone = errors.New("the gateway is gone")

// call asks every valve who it is, and returns once all that the score names have answered. It
// asks again, since not every network brings each question.
func (c *conductor) call(ctx context.Context, file string) error {
	c.began = time.Now()
	late := time.NewTimer(c.wait)
	defer late.Stop()
	again := time.NewTicker(retry)
	defer again.Stop()
	if err := c.announce(); err != nil {
		return err
	}
	for {
		if err := c.channel.say("describe", "describe"); err != nil {
			return errGone
		}
		for asked := false; !asked; {
			if len(c.silent()) == 0 {
				c.show(0)
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case h, ok := <-c.channel.heard:
				if !ok {
					return errGone
				}
				if h.Error != nil {
					return h.Error
				}
				if _, err := c.take(h); err != nil {
					return err
				}
			case <-again.C:
				asked = true
			case <-late.C:
				return c.missing(file)
			}
		}
	}
}

// silent are the valves of which nothing was heard, or only that they are lost.
func (c *conductor) silent() (names []string) {
	for _, v := range c.score.valves {
		if p := c.players[v]; p.id == 0 || p.is == "" {
			names = append(names, v)
		}
	}
	return names
}

// missing is the error of a score that names valves which are not there.
func (c *conductor) missing(file string) error {
	there := []string{}
	for name, p := range c.players {
		if p.is != "" {
			there = append(there, name)
		}
	}
	for name := range c.others {
		there = append(there, name)
	}
	slices.Sort(there)
	are := "no valve answers"
	if len(there) > 0 {
		are = "there are " + strings.Join(there, ", ")
	}
	return fmt.Errorf("%s has notes for %s, and no valve of that name answers on channel %d (%s)",
		file, strings.Join(c.silent(), ", "), c.channel.number, are)
}

// announcement is what a conductor says on the channel.
type announcement struct {
	Conductor string `json:"conductor"`
}

// announce tells other conductors that this one is there.
func (c *conductor) announce() error {
	if c.channel.say(announcement{c.mark}, "announce") != nil {
		return errGone
	}
	return nil
}

// meets settles who goes on of two conductors: the one that began earlier.
func (c *conductor) meets(other, name string) error {
	switch {
	case other > c.mark:
		return c.announce()
	case other < c.mark:
		return fmt.Errorf("another conductor, %s, is at work on channel %d", name, c.channel.number)
	}
	return nil
}

// take notes what a valve or another conductor says, and reports whether a valve of the score has
// changed.
func (c *conductor) take(h heard) (changed bool, err error) {
	if p := c.players[h.Ref]; p != nil && h.Error != nil {
		return p.refuse(h.Error.Error(), c.out), nil
	}
	var said struct {
		state
		announcement
		Tap json.RawMessage `json:"tap"` // hides the state's, which cannot be null
	}
	var text string
	if json.Unmarshal(h.Message, &text) == nil { // a small board marks all that it says as text
		h.Message = []byte(text)
	}
	if h.Type != "broadcast" || json.Unmarshal(h.Message, &said) != nil {
		return false, nil
	}
	if said.Conductor != "" {
		return false, c.meets(said.Conductor, h.Name)
	}
	if said.Tap == nil {
		return false, nil
	}
	_ = json.Unmarshal(said.Tap, &said.state.Tap) // null leaves it empty
	name := h.Name
	if name == "" {
		name = said.Valve // basic frames carry no name
	}
	if p := c.players[name]; p != nil {
		if p.named && h.Name == "" {
			return false, nil // who has a name is who it says
		}
		p.named = h.Name != ""
		return p.heardOf(h.Sender, said.state, time.Since(c.began)), nil
	}
	if valveName.MatchString(name) && len(c.others) < 100 {
		c.others[name] = true
	}
	return false, nil
}

// show prints how the valves are.
func (c *conductor) show(at time.Duration) {
	line := fmt.Sprintf("%7.2f s", at.Seconds())
	for _, v := range c.score.valves {
		p := c.players[v]
		line += fmt.Sprintf("   %s %s %d %%", p.sign(), v, p.soil)
	}
	fmt.Fprintln(c.out, line)
}

// change is the beginning or the end of a note.
type change struct {
	at    time.Duration
	valve string
	open  bool
}

func (s score) changes() (all []change) {
	for _, n := range s.notes {
		all = append(all, change{n.on, n.valve, true}, change{n.off, n.valve, false})
	}
	slices.SortStableFunc(all, func(a, b change) int { return int(a.at - b.at) })
	return all
}
