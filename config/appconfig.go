package config

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/hcl/v2"

	"waypoint/api/configpb"
)

// The config block of an app or of a workspace of it.
type (
	configBlock struct {
		Env   map[string]string `hcl:"env,optional"`
		Files []fileBlock       `hcl:"file,block"`

		Reload              string    `hcl:"reload,optional"`
		ReloadRange         hcl.Range `hcl:"reload,attr_value_range"`
		Signal              string    `hcl:"signal,optional"`
		SignalRange         hcl.Range `hcl:"signal,attr_value_range"`
		MaxUnavailable      string    `hcl:"max_unavailable,optional"`
		MaxUnavailableRange hcl.Range `hcl:"max_unavailable,attr_value_range"`
	}
	fileBlock struct {
		Path      string    `hcl:"path,label"`
		PathRange hcl.Range `hcl:"path,label_range"`
		Name      string    `hcl:"name,optional"`
		Content   string    `hcl:"content"`
		Mode      string    `hcl:"mode,optional"`
		ModeRange hcl.Range `hcl:"mode,attr_value_range"`
		Owner     string    `hcl:"owner,optional"`
	}
)

// reloadPrefix is what the names of the reloads begin with in the API.
const reloadPrefix = "RELOAD_"

// variableName is what the cluster takes as the name of a variable.
var variableName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// ReloadWords returns what the reload of a policy may be, the default first.
func ReloadWords() []string { return []string{"restart", "signal", "next-start"} }

// ReloadOf returns what one of ReloadWords means. For no word it is
// unspecified, which stands for the default.
func ReloadOf(word string) configpb.Reload {
	name := reloadPrefix + strings.ToUpper(strings.ReplaceAll(word, "-", "_"))
	return configpb.Reload(configpb.Reload_value[name])
}

// ReloadWord is the opposite of ReloadOf.
func ReloadWord(reload configpb.Reload) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(reload.String(), reloadPrefix), "_", "-"))
}

// FilePath tells whether a file of an app may have this path: absolute, clean,
// and not the root folder. Servers look more closely.
func FilePath(at string) bool { return path.IsAbs(at) && path.Clean(at) == at && at != "/" }

// FileMode reads permission bits as people write them, in octal digits with or
// without a leading 0. It returns false for anything but 1 to 0777.
func FileMode(text string) (uint32, bool) {
	mode, err := strconv.ParseUint(text, 8, 32)
	return uint32(mode), err == nil && mode >= 1 && mode <= 0o777
}

// FileVariable is the name of the variable that goes to a file, unless another
// one is chosen: its path in capitals, with "_" for what no name has.
func FileVariable(at string) string {
	name := strings.Map(func(r rune) rune {
		if variableName.MatchString("_" + string(r)) {
			return r
		}
		return '_'
	}, strings.ToUpper(strings.TrimPrefix(at, "/")))
	if !variableName.MatchString(name) {
		return "_" + name // it begins with a digit
	}
	return name
}

// applyConfig lays a block's variables over the app's. A variable takes the
// place of one of its name and a file that of one at its path.
func (a *App) applyConfig(block *configBlock) hcl.Diagnostics {
	if block == nil {
		return nil
	}
	files, diags := block.files()
	a.Files = slices.DeleteFunc(a.Files, func(old File) bool {
		_, inEnv := block.Env[old.Name]
		return inEnv || slices.ContainsFunc(files, func(f File) bool { return f.Name == old.Name || f.Path == old.Path })
	})
	for _, file := range files {
		delete(a.Env, file.Name)
	}
	maps.Copy(a.Env, block.Env)
	a.Files = append(a.Files, files...)
	slices.SortFunc(a.Files, func(x, y File) int { return strings.Compare(x.Name, y.Name) })
	return diags
}

// files decodes a block's files, each of which needs a name and a path of its
// own.
func (b *configBlock) files() ([]File, hcl.Diagnostics) {
	var files []File
	var diags hcl.Diagnostics
	for _, block := range b.Files {
		file, d := block.file()
		if _, inEnv := b.Env[file.Name]; inEnv {
			d = append(d, fault(block.PathRange, "Duplicate variable",
				"The variable "+quote(file.Name)+" is in env already: choose another name for this file."))
		}
		for _, other := range files {
			switch {
			case other.Path == file.Path:
				d = append(d, fault(block.PathRange, "Duplicate file", "The file "+quote(file.Path)+" is already in this block."))
			case other.Name == file.Name:
				d = append(d, fault(block.PathRange, "Duplicate variable", "The file "+quote(other.Path)+" in this block is the variable "+
					quote(file.Name)+" already: choose another name for this one."))
			}
		}
		files, diags = append(files, file), append(diags, d...)
	}
	return files, diags
}

func (b *fileBlock) file() (File, hcl.Diagnostics) {
	file := File{Name: b.Name, Path: b.Path, Content: b.Content, Owner: b.Owner}
	var diags hcl.Diagnostics
	if !FilePath(b.Path) {
		diags = append(diags, fault(b.PathRange, "Unsuitable path",
			"The path "+quote(b.Path)+" of a file must be absolute and without \"..\", \".\", double \"/\" and \"/\" at its end."))
	}
	if file.Name == "" {
		file.Name = FileVariable(b.Path)
	}
	if !variableName.MatchString(file.Name) {
		diags = append(diags, fault(b.PathRange, "Invalid name", "The name "+quote(file.Name)+
			" of this file's variable must begin with a letter or \"_\" and have only letters, digits and \"_\"."))
	}
	if b.Mode != "" {
		mode, ok := FileMode(b.Mode)
		if !ok {
			diags = append(diags, fault(b.ModeRange, "Unsuitable mode", "The mode "+quote(b.Mode)+" must be octal permission bits such as \"0640\"."))
		}
		file.Mode = mode
	}
	return file, diags
}

// applyPolicy takes the policy of the app's own block.
func (a *App) applyPolicy(block *configBlock) hcl.Diagnostics {
	if block == nil || block.Reload == "" && block.Signal == "" && block.MaxUnavailable == "" {
		return nil
	}
	a.Policy = &Policy{Reload: block.Reload, Signal: block.Signal, MaxUnavailable: block.MaxUnavailable}
	if block.Reload != "" && !slices.Contains(ReloadWords(), block.Reload) {
		return hcl.Diagnostics{fault(block.ReloadRange, "Unknown reload",
			"\"reload\" must be one of "+strings.Join(ReloadWords(), ", ")+", not "+quote(block.Reload)+".")}
	}
	return nil
}

// noPolicy refuses a policy in the block of a workspace.
func noPolicy(block *configBlock) hcl.Diagnostics {
	if block == nil {
		return nil
	}
	var diags hcl.Diagnostics
	for _, at := range []hcl.Range{block.ReloadRange, block.SignalRange, block.MaxUnavailableRange} {
		if !at.Empty() {
			diags = append(diags, fault(at, "Policy of a workspace",
				"An app has one policy in all workspaces: put reload, signal and max_unavailable into the config block of the app."))
		}
	}
	return diags
}
