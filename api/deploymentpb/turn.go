package deploymentpb

// RestartDue tells whether an instance has not used the newest turn to restart
// that it was given.
func (x *Instance) RestartDue() bool {
	return x.GetTurn() != nil && x.GetTurn().GetStarts() == x.GetChildStarts()
}
