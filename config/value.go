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
	check() error             // whether what is there is allowed
	yaml() string
	kind() string // as help shows it
}

type textValue struct {
	p    *string
	rule func(string) error
}

func text(p *string, rule func(string) error) value { return &textValue{p, rule} }

func (v *textValue) set(text string) error { *v.p = text; return nil }
func (v *textValue) check() error          { return v.rule(*v.p) }
func (v *textValue) yaml() string          { return strconv.Quote(*v.p) }
func (v *textValue) kind() string          { return "string" }

func (v *textValue) read(node ast.Node) error {
	s, ok := nodeText(node)
	if !ok {
		return errors.New("must be text: put it in quotes")
	}
	return v.set(s)
}

type boolValue struct{ p *bool }

func boolean(p *bool) value { return &boolValue{p} }

func (v *boolValue) check() error { return nil }
func (v *boolValue) yaml() string { return strconv.FormatBool(*v.p) }
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
	p           *int
	least, most int
}

func number(p *int, least, most int) value { return &intValue{p, least, most} }

func (v *intValue) yaml() string { return strconv.Itoa(*v.p) }
func (v *intValue) kind() string { return "int" }

func (v *intValue) check() error {
	if *v.p < v.least || *v.p > v.most {
		return fmt.Errorf("must be %d to %d, is %d", v.least, v.most, *v.p)
	}
	return nil
}

func (v *intValue) set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("must be a whole number from %d to %d, is %q", v.least, v.most, text)
	}
	*v.p = n
	return nil
}

func (v *intValue) read(node ast.Node) error {
	if _, ok := node.(*ast.IntegerNode); !ok {
		return fmt.Errorf("must be a whole number from %d to %d", v.least, v.most)
	}
	if n, ok := nodeUint(node); ok && n <= math.MaxInt {
		*v.p = int(n)
		return nil
	}
	return fmt.Errorf("must be %d to %d, is %s", v.least, v.most, node)
}

type durationValue struct {
	p     *time.Duration
	least time.Duration
}

func duration(p *time.Duration, least time.Duration) value { return &durationValue{p, least} }

func (v *durationValue) yaml() string { return formatDuration(*v.p) }
func (v *durationValue) kind() string { return "duration" }

func (v *durationValue) check() error {
	if *v.p < v.least {
		return fmt.Errorf("must be at least %s, is %s", formatDuration(v.least), formatDuration(*v.p))
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

// parseDuration reads Go's syntax, with days before it: 400d, 1d12h.
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

// secondsValue is a duration of whole seconds, from none.
type secondsValue struct {
	durationValue
	most time.Duration
}

func seconds(p *time.Duration, most time.Duration) value {
	return &secondsValue{durationValue{p: p}, most}
}

func (v *secondsValue) check() error {
	if d := *v.p; d < 0 || d > v.most || d%time.Second != 0 {
		return fmt.Errorf("must be whole seconds from 0s to %s, is %s", formatDuration(v.most), formatDuration(d))
	}
	return nil
}

type listValue struct {
	p    *[]string
	rule func(string) error
}

func list(p *[]string, rule func(string) error) value { return &listValue{p, rule} }

func (v *listValue) set(text string) error { *v.p = splitList(text); return nil }
func (v *listValue) yaml() string          { return yamlList(*v.p) }
func (v *listValue) kind() string          { return "list" }

func (v *listValue) check() error {
	var faults []error
	for _, s := range *v.p {
		faults = append(faults, v.rule(s))
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

type prefixesValue struct{ p *[]netip.Prefix }

func prefixes(p *[]netip.Prefix) value { return &prefixesValue{p} }

func (v *prefixesValue) set(text string) error { return v.parse(splitList(text)) }
func (v *prefixesValue) kind() string          { return "list" }

func (v *prefixesValue) yaml() string {
	var l []string
	for _, p := range *v.p {
		l = append(l, p.String())
	}
	return yamlList(l)
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

// splitList reads a list on one line: a,b,c.
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

// oneLine joins what is wrong with the entries of one setting.
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
