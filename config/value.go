package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// value is a setting's place in a Config.
type value interface {
	set(text string) error    // from a flag, the environment or a default
	read(node ast.Node) error // from the file
	check() error             // nil: the present value is allowed
	yaml() string
	text() string // that set takes
	kind() string // the type that help shows
	span() string // the allowed values, in words
	unit() string
	take(from value) // copies the value of the same setting of another Config
}

// place points to the field of a Config that holds a value.
type place[T any] struct{ p *T }

func (a place[T]) At() *T          { return a.p }
func (a place[T]) take(from value) { *a.p = *from.(interface{ At() *T }).At() }
func (a place[T]) unit() string    { return "" }

type textValue struct {
	place[string]
	rule rule
}

func text(p *string, r rule) value { return &textValue{place[string]{p}, r} }

func (v *textValue) set(text string) error { *v.p = text; return nil }
func (v *textValue) check() error          { return v.rule.check(*v.p) }
func (v *textValue) span() string          { return v.rule.span }
func (v *textValue) yaml() string          { return strconv.Quote(*v.p) }
func (v *textValue) text() string          { return *v.p }
func (v *textValue) kind() string          { return "string" }

func (v *textValue) read(node ast.Node) error {
	s, ok := nodeText(node)
	if !ok {
		return errors.New("must be text: put it in quotes")
	}
	return v.set(s)
}

type boolValue struct{ place[bool] }

func boolean(p *bool) value { return &boolValue{place[bool]{p}} }

func (v *boolValue) check() error { return nil }
func (v *boolValue) span() string { return "true, false" }
func (v *boolValue) yaml() string { return strconv.FormatBool(*v.p) }
func (v *boolValue) text() string { return v.yaml() }
func (v *boolValue) kind() string { return "bool" }

var errNotBool = errors.New("must be true or false")

func (v *boolValue) set(text string) error {
	b, err := strconv.ParseBool(text)
	if err != nil {
		return errNotBool
	}
	*v.p = b
	return nil
}

func (v *boolValue) read(node ast.Node) error {
	b, ok := node.(*ast.BoolNode)
	if !ok {
		return errNotBool
	}
	*v.p = b.Value
	return nil
}

type intValue struct {
	place[int]
	least, most int
	counts      string
}

func number(p *int, least, most int, unit string) value {
	return &intValue{place[int]{p}, least, most, unit}
}

func (v *intValue) yaml() string { return strconv.Itoa(*v.p) }
func (v *intValue) text() string { return v.yaml() }
func (v *intValue) kind() string { return "int" }
func (v *intValue) span() string { return fmt.Sprintf("%d to %d", v.least, v.most) }
func (v *intValue) unit() string { return v.counts }

func (v *intValue) check() error {
	if *v.p < v.least || *v.p > v.most {
		return fmt.Errorf("must be %s, is %d", v.span(), *v.p)
	}
	return nil
}

func (v *intValue) set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("must be a whole number from %s, is %q", v.span(), text)
	}
	*v.p = n
	return nil
}

func (v *intValue) read(node ast.Node) error {
	if _, ok := node.(*ast.IntegerNode); !ok {
		return fmt.Errorf("must be a whole number from %s", v.span())
	}
	if n, ok := nodeUint(node); ok && n <= math.MaxInt {
		*v.p = int(n)
		return nil
	}
	return fmt.Errorf("must be %s, is %s", v.span(), node)
}

// timeUnit is the unit of durations: each is written with one of these.
const timeUnit = "ms, s, m, h, d"

type durationValue struct {
	place[time.Duration]
	least time.Duration
}

func duration(p *time.Duration, least time.Duration) value {
	return &durationValue{place[time.Duration]{p}, least}
}

func (v *durationValue) yaml() string { return formatDuration(*v.p) }
func (v *durationValue) text() string { return v.yaml() }
func (v *durationValue) kind() string { return "duration" }
func (v *durationValue) span() string { return "at least " + formatDuration(v.least) }
func (v *durationValue) unit() string { return timeUnit }

func (v *durationValue) check() error {
	if *v.p < v.least {
		return fmt.Errorf("must be %s, is %s", v.span(), formatDuration(*v.p))
	}
	return nil
}

func (v *durationValue) set(text string) error {
	d, err := parseDuration(text)
	if err != nil {
		return err
	}
	*v.p = d
	return nil
}

func (v *durationValue) read(node ast.Node) error {
	s, ok := nodeText(node)
	if !ok {
		return errNotDuration
	}
	return v.set(s)
}

var errNotDuration = errors.New("must be a duration with its unit, such as 30s, 2m, 12h or 400d")

const day = 24 * time.Hour

// ParseDuration reads a time as settings have it, such as 30d.
func ParseDuration(s string) (time.Duration, error) { return parseDuration(s) }

// parseDuration reads Go's syntax, in which days may come first: 400d, 1d12h.
func parseDuration(s string) (time.Duration, error) {
	var days time.Duration
	if number, rest, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(number, 10, 32)
		if err != nil || n > uint64(math.MaxInt64/day)/2 {
			return 0, errNotDuration
		}
		days = time.Duration(n) * day
		if rest == "" {
			return days, nil
		}
		s = rest
	}
	d, err := time.ParseDuration(s)
	if err != nil || days > 0 && (d < 0 || d > math.MaxInt64-days) {
		return 0, errNotDuration
	}
	return days + d, nil
}

func formatDuration(d time.Duration) string {
	if d >= day && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// secondsValue is a duration of whole seconds, 0 or more.
type secondsValue struct {
	durationValue
	most time.Duration
}

func seconds(p *time.Duration, most time.Duration) value {
	return &secondsValue{durationValue{place: place[time.Duration]{p}}, most}
}

func (v *secondsValue) span() string { return "whole seconds from 0s to " + formatDuration(v.most) }

func (v *secondsValue) check() error {
	if d := *v.p; d < 0 || d > v.most || d%time.Second != 0 {
		return fmt.Errorf("must be %s, is %s", v.span(), formatDuration(d))
	}
	return nil
}

type listValue struct {
	place[[]string]
	rule rule
}

func list(p *[]string, r rule) value { return &listValue{place[[]string]{p}, r} }

func (v *listValue) set(text string) error { *v.p = splitList(text); return nil }
func (v *listValue) yaml() string          { return yamlList(*v.p) }
func (v *listValue) text() string          { return strings.Join(*v.p, ",") }
func (v *listValue) kind() string          { return "list" }
func (v *listValue) span() string          { return v.rule.span }

func (v *listValue) check() error {
	var faults []error
	for _, s := range *v.p {
		faults = append(faults, v.rule.check(s))
	}
	return oneLine(faults)
}

func (v *listValue) read(node ast.Node) error {
	l, err := nodeList(node)
	if err == nil {
		*v.p = l
	}
	return err
}

type prefixesValue struct{ place[[]netip.Prefix] }

func prefixes(p *[]netip.Prefix) value { return &prefixesValue{place[[]netip.Prefix]{p}} }

func (v *prefixesValue) set(text string) error { return v.parse(splitList(text)) }
func (v *prefixesValue) kind() string          { return "list" }
func (v *prefixesValue) span() string          { return "addresses, CIDRs" }

func (v *prefixesValue) yaml() string { return yamlList(v.list()) }
func (v *prefixesValue) text() string { return strings.Join(v.list(), ",") }

func (v *prefixesValue) list() (l []string) {
	for _, p := range *v.p {
		l = append(l, p.String())
	}
	return l
}

func (v *prefixesValue) check() error {
	for _, p := range *v.p {
		if !p.IsValid() {
			return errors.New("holds an invalid prefix")
		}
	}
	return nil
}

func (v *prefixesValue) read(node ast.Node) error {
	l, err := nodeList(node)
	if err != nil {
		return err
	}
	return v.parse(l)
}

func (v *prefixesValue) parse(l []string) error {
	var parsed []netip.Prefix
	var faults []error
	for _, s := range l {
		p, err := netip.ParsePrefix(s)
		if a, aerr := netip.ParseAddr(s); err != nil && aerr == nil && a.Zone() == "" {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%q is neither an address nor a CIDR such as 10.0.0.0/8", s))
			continue
		}
		parsed = append(parsed, p.Masked())
	}
	if err := oneLine(faults); err != nil {
		return err
	}
	*v.p = parsed
	return nil
}

// splitList splits a list that is written on one line: a,b,c.
func splitList(text string) []string {
	var l []string
	for s := range strings.SplitSeq(text, ",") {
		if s = strings.TrimSpace(s); s != "" {
			l = append(l, s)
		}
	}
	return l
}

func yamlList(l []string) string {
	quoted := make([]string, len(l))
	for i, s := range l {
		quoted[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// oneLine joins the errors of a setting's entries into one error, or nil.
func oneLine(faults []error) error {
	var all []string
	for _, err := range faults {
		if err != nil {
			all = append(all, err.Error())
		}
	}
	if len(all) == 0 {
		return nil
	}
	return errors.New(strings.Join(all, "; "))
}
