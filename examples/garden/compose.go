package main

import (
	"flag"
	"io"

	"gitlab.com/gomidi/midi/v2"
	"gitlab.com/gomidi/midi/v2/smf"
)

//go:generate go run . compose valkyries.mid

func runCompose(args []string) error {
	flags := flag.NewFlagSet("compose", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	file, err := parse(flags, args, "file")
	if err != nil {
		return err
	}
	return valkyries().WriteFile(file)
}

// Lengths in ticks. An eighth has 48.
const (
	sixteenth    = 24
	eighth       = 48
	dotted8th    = 72
	dottedFourth = 144
)

// Keys.
const (
	fis4 = 66
	b4   = 71
	d5   = 74
	fis5 = 78
)

// played is a note of the example: the valve that opens, the key, and how long it is in ticks.
type played struct {
	valve string
	key   uint8
	ticks uint32
}

// motif is the call of Wagner's Valkyries (Die Walküre, act 3, 1856), two bars of 9/8 in B minor.
// Each pitch is a valve's: B the rose's, F sharp the fern's, D the lily's.
var motif = []played{
	{"rose", b4, dotted8th}, {"fern", fis4, sixteenth}, {"rose", b4, eighth},
	{"lily", d5, dottedFourth}, {"rose", b4, dottedFourth},
	{"lily", d5, dotted8th}, {"rose", b4, sixteenth}, {"lily", d5, eighth},
	{"fern", fis5, dottedFourth}, {"lily", d5, dottedFourth},
}

// valkyries is the example's score: three seconds, 120 dotted crotchets a minute, a track for
// each valve. The last twentieth of each note is silent, so that each is heard.
func valkyries() *smf.SMF {
	score := smf.NewSMF1()
	score.TimeFormat = smf.MetricTicks(2 * eighth)
	var tempo smf.Track
	tempo.Add(0, smf.MetaTrackSequenceName("Ride of the Valkyries"))
	tempo.Add(0, smf.MetaMeter(9, 8))
	tempo.Add(0, smf.MetaTempo(180)) // crotchets
	tempo.Close(0)
	_ = score.Add(tempo) // fails only for a track that is not closed
	for _, valve := range []string{"rose", "fern", "lily"} {
		var track smf.Track
		track.Add(0, smf.MetaTrackSequenceName(valve))
		track.Add(0, midi.ProgramChange(0, 60)) // a horn
		silent := uint32(0)
		for _, n := range motif {
			if n.valve != valve {
				silent += n.ticks
				continue
			}
			rest := n.ticks / 20
			track.Add(silent, midi.NoteOn(0, n.key, 100))
			track.Add(n.ticks-rest, midi.NoteOff(0, n.key))
			silent = rest
		}
		track.Close(silent)
		_ = score.Add(track)
	}
	return score
}
