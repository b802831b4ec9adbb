package command

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/posener/complete"

	"waypoint/api/configpb"
	"waypoint/command/output"
	"waypoint/config"
)

// configFile holds the flags that let a variable go to a file.
type configFile struct {
	flags *flags
	path  string
	mode  string
	owner string
}

func (f *flags) configFile() *configFile {
	c := &configFile{flags: f}
	f.String(&c.path, "file", "", complete.PredictAnything, "let the one variable go to a file of this absolute `path` in the instances, not to their environment")
	f.String(&c.mode, "mode", "", complete.PredictSet("0400", "0440", "0444", "0600", "0640", "0644"), "permissions of that file in octal digits (`mode`); default: 0600")
	f.String(&c.owner, "owner", "", complete.PredictAnything, "`owner` of that file: user, user:group or :group; default: whoever the entrypoint runs as")
	return c
}

// resolve is where the variables of the arguments go; nil: the environment.
func (c *configFile) resolve(args []string) (*configpb.File, error) {
	if !c.flags.IsSet("file") {
		if c.flags.IsSet("mode") || c.flags.IsSet("owner") {
			return nil, usagef("-mode and -owner say how a file is made: give -file too")
		}
		return nil, nil
	}
	file := &configpb.File{Path: c.path, Owner: c.owner}
	if len(args) > 1 {
		return nil, usagef("-file takes one variable at a time: %d are given", len(args))
	}
	if !config.FilePath(c.path) {
		return nil, usagef("-file=%s: it is a path in the instances: absolute, without \"..\", double \"/\" or \"/\" at its end", c.path)
	}
	if c.flags.IsSet("mode") {
		var ok bool
		if file.Mode, ok = config.FileMode(c.mode); !ok {
			return nil, usagef("-mode=%s: permissions are octal digits from 0001 to 0777, such as 0640", c.mode)
		}
	}
	return file, nil
}

// placeWords tells people where a variable goes.
func placeWords(file *configpb.File) string {
	if file == nil {
		return "environment"
	}
	return strings.TrimSpace(fmt.Sprintf("%s %04o %s", file.GetPath(), file.GetMode(), file.GetOwner()))
}

// longestShown is how many characters of a file's content stand in a table.
const longestShown = 60

// valueWords is a variable's value, or the size of one that is a file for
// people to look at otherwise.
func valueWords(v *configpb.Variable) string {
	value := v.GetValue()
	line := strings.TrimSuffix(value, "\n")
	if v.GetFile() == nil || utf8.RuneCountInString(line) <= longestShown && !strings.ContainsFunc(line, unicode.IsControl) {
		return line
	}
	return "(" + output.Bytes(uint64(len(value))) + ")"
}
