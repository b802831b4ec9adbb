//go:build linux

package disk

import (
	"context"
	"os"
	"path/filepath"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// node is a file or folder of the disk.
type node struct {
	*fs.LoopbackNode
	disk *Disk
}

var (
	_ fs.NodeWrapChilder = (*node)(nil)
	_ fs.FileWriter      = (*file)(nil)
	_ fs.FileWritever    = (*file)(nil)
	_ fs.FileFsyncer     = (*file)(nil)
	_ fs.FileFsyncdirer  = (*folder)(nil)
)

func newRoot(d *Disk, backing string) (*node, error) {
	backing, err := filepath.Abs(backing)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(backing)
	if err != nil {
		return nil, err
	}
	root := &fs.LoopbackRoot{Path: backing, Dev: info.Sys().(*syscall.Stat_t).Dev}
	top := &node{&fs.LoopbackNode{RootData: root}, d}
	root.RootNode = top
	return top, nil
}

// WrapChild makes what lies in a folder part of the same disk.
func (n *node) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{ops.(*fs.LoopbackNode), n.disk}
}

// Open opens a file.
func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	h, more, errno := n.LoopbackNode.Open(ctx, flags)
	if errno != fs.OK {
		return nil, 0, errno
	}
	return &file{h.(*fs.LoopbackFile), n.disk}, more, fs.OK
}

// Create makes a file and opens it.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if n.disk.noSpace() {
		return nil, nil, 0, syscall.ENOSPC
	}
	child, h, more, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	if errno != fs.OK {
		return nil, nil, 0, errno
	}
	return child, &file{h.(*fs.LoopbackFile), n.disk}, more, fs.OK
}

// Mkdir makes a folder.
func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if n.disk.noSpace() {
		return nil, syscall.ENOSPC
	}
	return n.LoopbackNode.Mkdir(ctx, name, mode, out)
}

// Setattr changes a file's size, among others.
func (n *node) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok && n.disk.noSpace() {
		var now fuse.AttrOut
		if errno := n.Getattr(ctx, h, &now); errno != fs.OK || size > now.Size {
			return syscall.ENOSPC
		}
	}
	return n.LoopbackNode.Setattr(ctx, h, in, out)
}

// Statfs says how much space there is.
func (n *node) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	errno := n.LoopbackNode.Statfs(ctx, out)
	if n.disk.noSpace() {
		out.Bfree, out.Bavail, out.Ffree = 0, 0, 0
	}
	return errno
}

// OpendirHandle opens a folder.
func (n *node) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	h, more, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if errno != fs.OK {
		return nil, 0, errno
	}
	return &folder{dirHandle: h.(dirHandle), disk: n.disk}, more, fs.OK
}

// dirHandle is what an open folder can do.
type dirHandle interface {
	fs.FileReaddirenter
	fs.FileSeekdirer
	fs.FileReleasedirer
	fs.FileFsyncdirer
}

// folder is an open folder.
type folder struct {
	dirHandle
	disk *Disk
}

// Fsyncdir makes the names in a folder durable.
func (f *folder) Fsyncdir(ctx context.Context, flags uint32) syscall.Errno {
	if errno := f.disk.sync(); errno != fs.OK {
		return errno
	}
	return f.dirHandle.Fsyncdir(ctx, flags)
}

// file is an open file.
type file struct {
	*fs.LoopbackFile
	disk *Disk
}

// PassthroughFd keeps the kernel from going past this file system.
func (f *file) PassthroughFd() (int, bool) { return 0, false }

// Write writes data at off.
func (f *file) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	f.disk.wait()
	if f.disk.noSpace() && f.needsSpace(ctx, off, len(data)) {
		return 0, syscall.ENOSPC
	}
	return f.LoopbackFile.Write(ctx, data, off)
}

// Writev writes data at off.
func (f *file) Writev(ctx context.Context, data [][]byte, off int64) (uint32, syscall.Errno) {
	size := 0
	for _, part := range data {
		size += len(part)
	}
	f.disk.wait()
	if f.disk.noSpace() && f.needsSpace(ctx, off, size) {
		return 0, syscall.ENOSPC
	}
	return f.LoopbackFile.Writev(ctx, data, off)
}

// Fsync makes a file durable.
func (f *file) Fsync(ctx context.Context, flags uint32) syscall.Errno {
	if errno := f.disk.sync(); errno != fs.OK {
		return errno
	}
	return f.LoopbackFile.Fsync(ctx, flags)
}

// Allocate reserves space.
func (f *file) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	if f.disk.noSpace() {
		return syscall.ENOSPC
	}
	return f.LoopbackFile.Allocate(ctx, off, size, mode)
}

// needsSpace tells whether size bytes at off lie in a hole or behind the end.
func (f *file) needsSpace(ctx context.Context, off int64, size int) bool {
	hole, errno := f.Lseek(ctx, uint64(off), unix.SEEK_HOLE) // ENXIO: off is at the end
	return errno != fs.OK || hole < uint64(off)+uint64(size)
}
