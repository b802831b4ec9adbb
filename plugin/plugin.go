// Package plugin says what a plugin is: a Builder, a Registry, a Platform or a
// Releaser, chosen by the name in a "use" block of the project file.
//
// Requests carry all that a plugin may know: it must not know the cluster, the
// runner or the project file, and keeps what it must remember in the artifact's
// values and in the deployment's data. A plugin is used by several jobs at a time.
package plugin

import (
	"context"
	"io"
)

// Body is a plugin's part of the project file. Decode decodes it into target,
// a pointer to a struct with gohcl tags. objects are offered to its
// expressions: objects["artifact"]["path"] is artifact.path.
type Body interface {
	Decode(target any, objects map[string]map[string]string) error
}

// Builder makes an artifact of an app's sources ("build").
type Builder interface {
	Build(ctx context.Context, req *BuildRequest) (*Artifact, error)
}

// Registry puts an artifact where platforms on other machines find it ("push")
// and returns it as it is known there.
type Registry interface {
	Push(ctx context.Context, req *PushRequest) (*Artifact, error)
}

// Platform runs instances of an artifact ("deploy").
type Platform interface {
	// Plan reads the body, changes nothing and says what Deploy would do.
	Plan(req *DeployRequest) (*Plan, error)
	// Deploy starts what Plan has said and returns when it runs. If it fails
	// it leaves nothing behind.
	Deploy(ctx context.Context, req *DeployRequest) (*Deployed, error)
	// Destroy ends a deployment. It may be called again, for a deployment that
	// was never finished, and without a project file.
	Destroy(ctx context.Context, req *DestroyRequest) error
}

// Releaser leads an app's users to a deployment ("release").
type Releaser interface {
	Release(ctx context.Context, req *ReleaseRequest) (*Released, error)
}

// App is the app that an operation is about.
type App struct {
	Project, Name, Workspace string

	Dir string // absolute path of its folder
}

// Artifact is what a build made.
type Artifact struct {
	Description string            // for people: a path, an image name
	HostBound   bool              // it exists on the runner's machine only
	Values      map[string]string // what it is to a platform, and to the project file as artifact.<name>
}

// BuildRequest asks for an artifact of app.
type BuildRequest struct {
	App    App
	Body   Body
	Output io.Writer
}

// PushRequest asks for artifact to be put where others find it.
type PushRequest struct {
	App      App
	Body     Body
	Artifact *Artifact
	Output   io.Writer
}

// Plan is what a platform is going to run.
type Plan struct {
	Instances  int
	Entrypoint bool // instances run under the entrypoint
	HostBound  bool // only a runner on this machine can destroy the deployment
}

// Entrypoint is what an instance's entrypoint needs.
type Entrypoint struct {
	Binary      string   // path on the runner's machine
	ServerAddrs []string // host:port
	ServerCA    string   // PEM or "sha256:<hex>"
	Token       string   // secret; works for the deployment only
}

// DeployRequest asks for a deployment of artifact. Plan is called without ID,
// Sequence, Entrypoint and Attached.
type DeployRequest struct {
	App        App
	Body       Body
	Artifact   *Artifact
	ID         string
	Sequence   uint64 // v1, v2, ...
	Entrypoint Entrypoint
	// Attached says how many instances of the deployment have reached the cluster.
	Attached func(ctx context.Context) (int, error)
	Output   io.Writer
}

// Deployed is what a deployment has become.
type Deployed struct {
	URL  string
	Data []byte // for Destroy; at most 64 KiB
}

// DestroyRequest asks for the end of a deployment.
type DestroyRequest struct {
	App    App // without Dir if there is no project file
	ID     string
	Data   []byte // of Deployed; empty if the deployment was never finished
	Output io.Writer
}

// ReleaseRequest asks for the release of a deployment.
type ReleaseRequest struct {
	App      App
	Body     Body
	ID       string // of the deployment
	Sequence uint64
	Data     []byte // of Deployed
	Output   io.Writer
}

// Released is what a release has become.
type Released struct {
	URL string
}
