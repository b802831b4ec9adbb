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
