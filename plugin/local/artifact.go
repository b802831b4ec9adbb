package local

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// copyPath is where a deployment keeps its copy of the artifact at path: the
// next build writes to path again, and the instances of an older deployment
// must stay what they are, restarts included.
func copyPath(dir, path string) string {
	return filepath.Join(dir, "artifact", filepath.Base(path))
}

// copyArtifact copies a file or a folder.
func copyArtifact(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if info.IsDir() {
		return os.CopyFS(to, os.DirFS(from))
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is neither a file nor a folder", from)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return err
	}
	return copyFile(from, to, info.Mode().Perm())
}

func copyFile(from, to string, mode os.FileMode) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	if cerr := dst.Close(); err == nil {
		err = cerr
	}
	return err
}
