package main

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"watchtower/channelmap"
	"watchtower/config"
	"watchtower/gateway"
)

func mapCommand(sys surroundings) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "map",
		Short: "Try the maps of channels to other topics",
		Args:  cobra.NoArgs, // so that an unknown subcommand is an error
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(testMapCommand(sys))
	return cmd
}

// mapTest is a dry run of maps, and its answer as JSON.
type mapTest struct {
	Topic    string        `json:"topic,omitempty"`   // that something is published on
	Channel  uint32        `json:"channel,omitempty"` // or on which it is said
	Payload  string        `json:"-"`
	Retained bool          `json:"retained,omitempty"` // it was before
	Name     string        `json:"-"`                  // of who says it
	Crosses  bool          `json:"crosses"`            // somewhere
	Channels []mapCrossing `json:"channels,omitempty"` // that hear it
	Topics   []mapCrossing `json:"topics,omitempty"`   // that get it
}

// mapCrossing is what becomes of it at one line of a map.
type mapCrossing struct {
	Setting  string  `json:"setting"` // the line
	Channel  uint32  `json:"channel"`
	Topic    string  `json:"topic,omitempty"`
	Outcome  string  `json:"outcome"`
	Why      string  `json:"why,omitempty"`
	Message  *string `json:"message,omitempty"`
	Encoding string  `json:"encoding,omitempty"` // base64: of a message that is no text
	QoS      *byte   `json:"qos,omitempty"`
	Retain   bool    `json:"retain,omitempty"`

	crossing channelmap.Crossing
}

func testMapCommand(sys surroundings) *cobra.Command {
	var run mapTest
	cmd := &cobra.Command{
		Use:   "test [TOPIC] PAYLOAD",
		Short: "Print what the maps would make of a message, and send nothing",
		Long: "Print which channels would hear what is published on a topic; or, with --channel, on\n" +
			"which topics would be published what is said on a channel. Nothing is sent, and no\n" +
			"gateway has to run. If nothing would cross, the exit code is 1.",
		Example: "  watchtower map test --config maps.yaml zigbee2mqtt/hall/action single\n" +
			"  watchtower map test --config maps.yaml --channel 5 1",
		Args: cobra.RangeArgs(1, 2),
	}
	cmd.Flags().String("config", "", "YAML file with the maps")
	cmd.Flags().Uint32Var(&run.Channel, "channel", 0, "the channel on which PAYLOAD is said")
	cmd.Flags().StringVar(&run.Name, "name", "", "with --channel: the name of who says it")
	cmd.Flags().BoolVar(&run.Retained, "retained", false, "it was retained before the gateway listened")
	asJSON := cmd.Flags().Bool("json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		switch {
		case cmd.Flag("channel").Changed && len(args) == 2:
			return usagef("give a TOPIC, or --channel: what is said on a channel has no topic of its own")
		case cmd.Flag("channel").Changed && run.Channel == 0:
			return usagef("--channel must be 1 to 4294967295")
		case run.Channel == 0 && len(args) == 1:
			return usagef("give a TOPIC and a PAYLOAD, or a PAYLOAD and --channel")
		case run.Channel == 0 && run.Name != "", run.Channel != 0 && run.Retained:
			return usagef("--name is for --channel, and --retained is for a TOPIC")
		}
		run.Payload = args[len(args)-1]
		if len(args) == 2 {
			if run.Topic = args[0]; run.Topic == "" || strings.ContainsAny(run.Topic, "+#") {
				return usagef("TOPIC must be one topic, without the wildcards + and #, is %q", run.Topic)
			}
		}
		if err := run.run(cmd, sys); err != nil {
			return err
		}
		var err error
		if *asJSON {
			err = json.NewEncoder(cmd.OutOrStdout()).Encode(run)
		} else {
			_, err = fmt.Fprint(cmd.OutOrStdout(), run.text())
		}
		return cmp.Or(err, run.fault())
	}
	return cmd
}

// run reads the maps, and finds out what becomes of the message.
func (t *mapTest) run(cmd *cobra.Command, sys surroundings) error {
	file, err := cmd.Flags().GetString("config")
	if err != nil {
		return err
	}
	if file == "" {
		file = sys.getenv(config.FileVariable)
	}
	if file == "" {
		return usagef("--config FILE is missing: it has the maps")
	}
	c, _, err := config.Load(nil, sys.environ, file)
	if err != nil {
		return err
	}
	all, err := gateway.Maps(&c)
	if err != nil {
		return err
	}
	if t.Channel != 0 {
		t.Topics = t.shown(all.Said(t.Channel, t.Name, []byte(t.Payload)))
	} else {
		t.Channels = t.shown(all.In(t.Topic, []byte(t.Payload), t.Retained))
	}
	return nil
}

func (t *mapTest) shown(crossings []channelmap.Crossing) (all []mapCrossing) {
	for _, c := range crossings {
		m := mapCrossing{
			Setting: fmt.Sprintf("channels.%d.map[%d]", c.Channel, c.Place), Channel: uint32(c.Channel),
			Outcome: c.String(), Why: c.Why, Retain: c.Retain, crossing: c,
		}
		if t.Channel != 0 {
			m.Topic = c.Topic
		}
		if c.Outcome == channelmap.Crosses {
			t.Crosses = true
			text := string(c.Payload)
			if !utf8.Valid(c.Payload) {
				text, m.Encoding = base64.StdEncoding.EncodeToString(c.Payload), "base64"
			}
			m.Message = &text
			if t.Channel != 0 {
				m.QoS = &c.QoS
			}
		}
		all = append(all, m)
	}
	return all
}

// text is the answer for people.
func (t *mapTest) text() string {
	var b strings.Builder
	for _, m := range t.Channels {
		fmt.Fprintf(&b, "channel %d hears %s\n", m.Channel, m.text())
	}
	for _, m := range t.Topics {
		fmt.Fprintf(&b, "%s gets %s\n", printableText(m.Topic), m.text())
	}
	if t.Crosses && t.Channel == 0 {
		b.WriteString("it goes out again on no topic: what came in by a map goes out by no map\n")
	}
	return b.String()
}

func (m *mapCrossing) text() string {
	if m.crossing.Outcome != channelmap.Crosses {
		return "nothing (" + m.Setting + ": " + m.reason() + ")"
	}
	more := ""
	if m.QoS != nil {
		more = fmt.Sprintf(", QoS %d", *m.QoS)
	}
	if m.Retain {
		more += ", retained"
	}
	return printableText(string(m.crossing.Payload)) + " (" + m.Setting + more + ")"
}

// reason says why it does not cross.
func (m *mapCrossing) reason() string {
	switch m.crossing.Outcome {
	case channelmap.Empty:
		return "there is nothing to say"
	case channelmap.Unmatched:
		return "it is none of the values"
	case channelmap.Stored:
		return "it was retained before, and the line is without retained: true"
	case channelmap.Twice:
		return "another line says the same"
	}
	return m.Why
}

// fault is that nothing crosses, or nil.
func (t *mapTest) fault() error {
	switch {
	case t.Crosses:
		return nil
	case len(t.Channels)+len(t.Topics) > 0:
		return errors.New("nothing crosses")
	case t.Channel != 0:
		return fmt.Errorf("channel %d has no map with out: true", t.Channel)
	}
	return fmt.Errorf("no channel has a map with in: true for %s", printableText(t.Topic))
}
