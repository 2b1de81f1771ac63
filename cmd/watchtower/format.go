package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// formatHelp is the help of --format.
const formatHelp = "how messages are printed: json, hex (the payload), or a text with %c channel, %n sender's name, " +
	"%s sender's id, %i message's id, %t time, %y type, %p payload, %x payload in hexadecimal, %% a percent sign"

// format writes a message. It ends with a line break.
type format func(b *bytes.Buffer, m message)

// parseFormat reads a --format; empty: lines for people. On a terminal a payload has no
// characters that the terminal would execute.
func parseFormat(text string, terminal bool) (format, error) {
	switch text {
	case "":
		return func(b *bytes.Buffer, m message) { b.WriteString(messageLine(m, time.Local) + "\n") }, nil
	case "json":
		return func(b *bytes.Buffer, m message) { b.Write(m.line); b.WriteByte('\n') }, nil
	case "hex":
		text = "%x"
	}
	for rest := text; ; {
		_, after, found := strings.Cut(rest, "%")
		if !found {
			break
		}
		if after == "" || !strings.ContainsRune("cnsityypx%", rune(after[0])) {
			return nil, usagef("--format: %q is none of %%c %%n %%s %%i %%t %%y %%p %%x %%%%", "%"+after[:min(1, len(after))])
		}
		rest = after[1:]
	}
	return func(b *bytes.Buffer, m message) {
		for rest := text; rest != ""; {
			plain, after, found := strings.Cut(rest, "%")
			b.WriteString(plain)
			if !found {
				break
			}
			m.field(b, after[0], terminal)
			rest = after[1:]
		}
		b.WriteByte('\n')
	}, nil
}

// field writes what a letter of a format stands for.
func (m message) field(b *bytes.Buffer, letter byte, terminal bool) {
	switch letter {
	case 'c':
		b.WriteString(strconv.FormatUint(uint64(m.Channel), 10))
	case 'n':
		b.WriteString(printableText(m.Name))
	case 's':
		b.WriteString(strconv.FormatUint(uint64(m.Sender), 10))
	case 'i':
		b.WriteString(printableText(m.ID))
	case 't':
		b.WriteString(m.Time.Local().Format("2006-01-02T15:04:05.000Z07:00"))
	case 'y':
		b.WriteString(printableText(m.Type))
	case 'x':
		b.WriteString(hex.EncodeToString(m.payload()))
	case '%':
		b.WriteByte('%')
	case 'p':
		if terminal {
			b.WriteString(printableText(string(m.payload())))
			return
		}
		b.Write(m.payload())
	}
}

// print returns what prints messages to an output.
func (f format) print(to io.Writer) func(message) error {
	var b bytes.Buffer
	return func(m message) error {
		b.Reset()
		f(&b, m)
		if _, err := to.Write(b.Bytes()); err != nil {
			return outputError{err}
		}
		return nil
	}
}

// tooFew is less than was waited for.
type tooFew struct {
	heard, wanted int
	answers       bool // an answer was waited for
}

func (e tooFew) Error() string {
	if e.answers {
		return "no answer came in time: nobody there replies, or -W is too short"
	}
	return fmt.Sprintf("%d of %d messages came in time", e.heard, e.wanted)
}
