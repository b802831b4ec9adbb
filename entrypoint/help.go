package entrypoint

import (
	"fmt"
	"strings"
)

// Usage is how the command is used, in one line.
const Usage = `usage: waypoint-entrypoint COMMAND [ARG...]   (or --help, --version)`

// variable is what the help says of one environment variable.
type variable struct {
	name, meaning, fallback, example string
}

func variables() []variable {
	return []variable{
		{EnvAddr, "servers, separated by commas; none: no connection", "none", "10.0.0.1:9701,10.0.0.2:9701"},
		{EnvCA, "the cluster's authority: its fingerprint, or a certificate as PEM", "none", "sha256:4a6f..."},
		{EnvDeployment, "the deployment, for people: the token decides", "none", "01JD3X7Q6ZK8W2V9B4N5M1C0TA"},
		{EnvToken, "the deployment's token", "none", "wp1_..."},
		{EnvTokenFile, "a file that holds the token", "none", "/run/secrets/waypoint-token"},
		{EnvDisable, "be a plain init: no connection, nothing is touched", "false", "1"},
		{EnvRequireConfig, "do not start COMMAND before its configuration has come", "false", "1"},
		{EnvDisableExec, "refuse to run commands for \"waypoint exec\"", "false", "1"},
		{EnvGrace, "how long COMMAND has to end after TERM, before it is killed", "25s", "40s"},
		{EnvLogBytes, "how many bytes of log lines are kept while no server is reached", "1048576", "4194304"},
	}
}

// Help is the whole help text.
func Help() string {
	var b strings.Builder
	fmt.Fprintf(&b, `%s

Runs COMMAND, passes signals and the exit status on, and keeps COMMAND connected
to a Waypoint cluster. Without %s, and if anything of the cluster
fails, COMMAND runs all the same. COMMAND gets none of these variables:

`, Usage, EnvAddr)
	for _, v := range variables() {
		fmt.Fprintf(&b, "  %s\n      %s\n      default: %s; example: %s=%s\n", v.name, v.meaning, v.fallback, v.name, v.example)
	}
	b.WriteString(`
A true or false is written as 1 or 0, true or false. A value that cannot be read
is complained about and counts as the default; only ` + EnvDisableExec + `
counts as true.
`)
	return b.String()
}
