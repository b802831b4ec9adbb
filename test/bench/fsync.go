package main

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"waypoint/test/harness"
)

const rounds = 3

// measureFsync measures how often the disk makes one small append durable: the
// limit of every durable write that waits alone.
func measureFsync(_ context.Context, c *harness.Cluster) ([]row, error) {
	f, err := os.Create(filepath.Join(c.Dir, "fsync"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := row{name: "fsync of 256 B, alone", unit: "per s"}
	block := make([]byte, valueSize)
	for range rounds {
		n := 0
		start := time.Now()
		for ; time.Since(start) < time.Second; n++ {
			if _, err := f.Write(block); err != nil {
				return nil, err
			}
			if err := f.Sync(); err != nil {
				return nil, err
			}
		}
		r.samples = append(r.samples, float64(n)/time.Since(start).Seconds())
	}
	return []row{r}, nil
}
