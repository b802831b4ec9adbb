package state

import (
	"cmp"
	"slices"
	"strings"

	"waypoint/api/configpb"
)

// FilesCollide tells whether two variables' files cannot be there at once:
// they have one path, or one's path would have to be a folder for the other.
func FilesCollide(a, b *configpb.File) bool {
	if a == nil || b == nil {
		return false
	}
	return a.GetPath() == b.GetPath() ||
		strings.HasPrefix(a.GetPath(), b.GetPath()+"/") || strings.HasPrefix(b.GetPath(), a.GetPath()+"/")
}

// Collision returns two of the variables whose files collide, nil if none do.
func Collision(vars []*configpb.Variable) (a, b *configpb.Variable) {
	files := slices.DeleteFunc(slices.Clone(vars), func(v *configpb.Variable) bool { return v.GetFile() == nil })
	slices.SortStableFunc(files, func(a, b *configpb.Variable) int {
		return compareFolders(a.GetFile().GetPath(), b.GetFile().GetPath())
	})
	// What would have to be below a file follows it at once: neighbours tell.
	for i := 1; i < len(files); i++ {
		if FilesCollide(files[i-1].GetFile(), files[i].GetFile()) {
			return files[i-1], files[i]
		}
	}
	return nil, nil
}

// compareFolders orders paths folder by folder: "/a/b" comes before "/a-b".
func compareFolders(a, b string) int {
	for i := range min(len(a), len(b)) {
		switch {
		case a[i] == b[i]:
		case a[i] == '/':
			return -1
		case b[i] == '/':
			return 1
		default:
			return cmp.Compare(a[i], b[i])
		}
	}
	return cmp.Compare(len(a), len(b))
}

// withoutCovered drops the variables whose file collides with a narrower one's.
// Of one scope and origin there are no two such: they are refused when they
// are set.
func withoutCovered(vars []*configpb.Variable) []*configpb.Variable {
	files := slices.DeleteFunc(slices.Clone(vars), func(v *configpb.Variable) bool { return v.GetFile() == nil })
	if len(files) < 2 {
		return vars
	}
	slices.SortStableFunc(files, func(a, b *configpb.Variable) int { return cmp.Compare(breadth(b), breadth(a)) })
	var kept []*configpb.Variable
	for _, v := range files {
		if !slices.ContainsFunc(kept, func(k *configpb.Variable) bool { return FilesCollide(k.GetFile(), v.GetFile()) }) {
			kept = append(kept, v)
		}
	}
	return slices.DeleteFunc(vars, func(v *configpb.Variable) bool {
		return v.GetFile() != nil && !slices.Contains(kept, v)
	})
}
