// Package disk is for file systems that fail on command: what lies in a folder
// is seen through a mount whose writes can be made slow, refused or held while
// it is mounted. It must not know what writes to it.
package disk
