// Package contexts keeps the clusters that a user of the command line knows:
// one file per named context and one that names the default. It knows files
// only; it never connects to anything.
package contexts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"waypoint/errs"
	"waypoint/internal/atomicfile"
)

// Context says how to reach a cluster and as whom.
type Context struct {
	Addrs []string `json:"addrs"`           // host:port
	CA    string   `json:"ca"`              // "sha256:<hex>" or PEM
	Token string   `json:"token,omitempty"` // text of a user token
}

// Store is the folder of contexts. Files in it have mode 0600, it has 0700.
type Store struct {
	dir string
}

// New is the store of a user: ${XDG_CONFIG_HOME:-$HOME/.config}/waypoint/contexts.
// Nothing is read or made yet.
func New(getenv func(string) string) (*Store, error) {
	base := getenv("XDG_CONFIG_HOME")
	if base == "" {
		home := getenv("HOME")
		if home == "" {
			return nil, errs.New(errs.Invalid, "neither XDG_CONFIG_HOME nor HOME is set: there is no place for contexts; set one, or use WAYPOINT_SERVER_ADDR, WAYPOINT_SERVER_CA and WAYPOINT_SERVER_TOKEN")
		}
		base = filepath.Join(home, ".config")
	}
	return &Store{dir: filepath.Join(base, "waypoint", "contexts")}, nil
}

const (
	suffix      = ".json"
	defaultFile = "default"
)

// CheckName refuses names that cannot be a context's.
func CheckName(name string) error {
	if regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`).MatchString(name) {
		return nil
	}
	return errs.New(errs.Invalid, "%q cannot name a context: use up to 63 letters, digits, dots, dashes and underscores, beginning with a letter or digit", name)
}

// Path is the file of a context.
func (s *Store) Path(name string) string { return filepath.Join(s.dir, name+suffix) }

// Get reads a context. A missing one is errs.NotFound.
func (s *Store) Get(name string) (*Context, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(s.Path(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errs.New(errs.NotFound, "there is no context %q; \"waypoint context list\" shows those that exist", name)
	}
	if err != nil {
		return nil, fmt.Errorf("read context %q: %w", name, err)
	}
	c := &Context{}
	if err := json.Unmarshal(raw, c); err != nil {
		return nil, errs.New(errs.Invalid, "context file %s is damaged: %w; mend it, or delete the context and log in again", s.Path(name), err)
	}
	return c, nil
}

// Put writes a context. The first one becomes the default.
func (s *Store) Put(name string, c *Context) error {
	if err := CheckName(name); err != nil {
		return err
	}
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("write context %q: %w", name, err)
	}
	if err := s.write(s.Path(name), append(raw, '\n')); err != nil {
		return fmt.Errorf("write context %q: %w", name, err)
	}
	selected, err := s.Default()
	if err != nil || selected != "" {
		return err
	}
	return s.Use(name)
}

// Use makes a context the default.
func (s *Store) Use(name string) error {
	if _, err := s.Get(name); err != nil {
		return err
	}
	if err := s.write(filepath.Join(s.dir, defaultFile), []byte(name+"\n")); err != nil {
		return fmt.Errorf("select context %q: %w", name, err)
	}
	return nil
}

// Default is the name of the default context, "" if there is none.
func (s *Store) Default() (string, error) {
	raw, err := os.ReadFile(filepath.Join(s.dir, defaultFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the default context: %w", err)
	}
	return strings.TrimSpace(string(raw)), nil
}

// Delete forgets a context; if it was the default, there is none afterwards.
func (s *Store) Delete(name string) error {
	if _, err := s.Get(name); err != nil && !errs.Is(err, errs.Invalid) {
		return err
	}
	if err := CheckName(name); err != nil {
		return err
	}
	selected, err := s.Default()
	if err != nil {
		return err
	}
	if selected == name {
		if err := os.Remove(filepath.Join(s.dir, defaultFile)); err != nil {
			return fmt.Errorf("delete context %q: %w", name, err)
		}
	}
	if err := os.Remove(s.Path(name)); err != nil {
		return fmt.Errorf("delete context %q: %w", name, err)
	}
	return nil
}

// Names are the names of all contexts, sorted.
func (s *Store) Names() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list contexts: %w", err)
	}
	var names []string
	for _, entry := range entries {
		name, ok := strings.CutSuffix(entry.Name(), suffix)
		if ok && CheckName(name) == nil && !entry.IsDir() {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names, nil
}

func (s *Store) write(path string, data []byte) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	// The folder may be older than this program and wider open.
	if err := os.Chmod(s.dir, 0o700); err != nil {
		return err
	}
	return atomicfile.Write(path, data, 0o600)
}
