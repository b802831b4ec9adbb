package local

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"waypoint/internal/atomicfile"
)

// record is what a deployment's folder says about its processes.
type record struct {
	Boot      string    `json:"boot"` // of the machine when they were started
	Processes []process `json:"processes"`
}

// process names one process for as long as the machine is up: no two have the
// same pid and start time.
type process struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // the kernel's own unit
}

func recordPath(dir string) string { return filepath.Join(dir, "instances.json") }

func (r *record) save(dir string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(recordPath(dir), append(text, '\n'), 0o600)
}

// loadRecord returns an empty record where there is none.
func loadRecord(dir string) (*record, error) {
	text, err := os.ReadFile(recordPath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return &record{}, nil
	}
	if err != nil {
		return nil, err
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, err
	}
	return &r, nil
}
