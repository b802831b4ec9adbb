package command

import (
	"flag"
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/posener/complete"
)

// flags are the flags of one command: Go's own, with groups for the help,
// aliases, and a prediction for each.
type flags struct {
	set     *flag.FlagSet
	predict map[string]complete.Predictor
	groups  map[string]string // flag to the heading it stands under
	alias   map[string]string // short name to the flag it stands for
	group   string            // heading of the flags that are added next
}

const ownFlags = "Flags"

func newFlags() *flags {
	set := flag.NewFlagSet("", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.Usage = func() {}
	return &flags{set: set, predict: map[string]complete.Predictor{}, groups: map[string]string{}, alias: map[string]string{}, group: ownFlags}
}

func (f *flags) added(name string, predict complete.Predictor) {
	f.predict[name] = predict
	f.groups[name] = f.group
}

func (f *flags) String(p *string, name, value string, predict complete.Predictor, usage string) {
	f.set.StringVar(p, name, value, usage)
	f.added(name, predict)
}

func (f *flags) Bool(p *bool, name string, usage string) {
	f.set.BoolVar(p, name, *p, usage)
	f.added(name, complete.PredictNothing)
}

func (f *flags) Uint(p *uint, name string, value uint, usage string) {
	f.set.UintVar(p, name, value, usage)
	f.added(name, complete.PredictAnything)
}

func (f *flags) Duration(p *time.Duration, name string, value time.Duration, usage string) {
	f.set.DurationVar(p, name, value, usage)
	f.added(name, complete.PredictAnything)
}

// List is a flag that may be given several times.
func (f *flags) List(p *[]string, name string, predict complete.Predictor, usage string) {
	f.set.Var((*listValue)(p), name, usage)
	f.added(name, predict)
}

// Map is a flag that takes KEY=VALUE and may be given several times.
func (f *flags) Map(p *map[string]string, name, usage string) {
	f.set.Var(&mapValue{p}, name, usage)
	f.added(name, complete.PredictAnything)
}

// Alias gives a flag a second name.
func (f *flags) Alias(short, name string) {
	f.set.Var(f.set.Lookup(name).Value, short, "")
	f.alias[short] = name
}

// IsSet tells whether the flag, or its alias, was given.
func (f *flags) IsSet(name string) bool {
	found := false
	f.set.Visit(func(fl *flag.Flag) {
		found = found || fl.Name == name || f.alias[fl.Name] == name
	})
	return found
}

func (f *flags) any() bool { return len(f.groups) > 0 }

// parse takes the flags out of the arguments wherever they stand, up to "--".
// Verbatim arguments begin with the first that is not a flag.
func (f *flags) parse(args []string, verbatim bool) ([]string, error) {
	var rest []string
	for {
		if err := f.set.Parse(args); err != nil {
			return nil, usagef("%v", err)
		}
		left := f.set.Args()
		taken := len(args) - len(left)
		ended := taken > 0 && args[taken-1] == "--"
		if verbatim || ended || len(left) == 0 {
			return append(rest, left...), nil
		}
		rest = append(rest, left[0])
		args = left[1:]
	}
}

func (f *flags) predictors() complete.Flags {
	all := complete.Flags{"-help": complete.PredictNothing}
	for name, predict := range f.predict {
		all["-"+name] = predict
	}
	for short, name := range f.alias {
		all["-"+short] = f.predict[name]
	}
	return all
}

// help lists the flags by group, those of the command itself first.
func (f *flags) help(b *strings.Builder) {
	byGroup := map[string][]*flag.Flag{}
	f.set.VisitAll(func(fl *flag.Flag) {
		if group, ok := f.groups[fl.Name]; ok {
			byGroup[group] = append(byGroup[group], fl)
		}
	})
	groups := make([]string, 0, len(byGroup))
	for group := range byGroup {
		groups = append(groups, group)
	}
	sort.Slice(groups, func(i, j int) bool {
		if (groups[i] == ownFlags) != (groups[j] == ownFlags) {
			return groups[i] == ownFlags
		}
		return groups[i] < groups[j]
	})
	for _, group := range groups {
		fmt.Fprintf(b, "\n%s:\n", group)
		for _, fl := range byGroup[group] {
			f.helpOne(b, fl)
		}
	}
}

func (f *flags) helpOne(b *strings.Builder, fl *flag.Flag) {
	value, usage := flag.UnquoteUsage(fl)
	names := "-" + fl.Name
	for short, name := range f.alias {
		if name == fl.Name {
			names = "-" + short + ", " + names
		}
	}
	if value != "" {
		names += "=" + strings.ToUpper(value)
	}
	if fl.DefValue != "" && fl.DefValue != "false" && fl.DefValue != "0" && fl.DefValue != "0s" {
		usage += " (default " + fl.DefValue + ")"
	}
	fmt.Fprintf(b, "  %s\n%s", names, wrap(usage, "      ", helpWidth))
}

type listValue []string

func (l *listValue) String() string {
	if l == nil {
		return ""
	}
	return strings.Join(*l, ",")
}

func (l *listValue) Set(text string) error {
	*l = append(*l, text)
	return nil
}

type mapValue struct{ to *map[string]string }

func (m *mapValue) String() string { return "" }

func (m *mapValue) Set(text string) error {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return fmt.Errorf("want KEY=VALUE")
	}
	if *m.to == nil {
		*m.to = map[string]string{}
	}
	(*m.to)[key] = value
	return nil
}
