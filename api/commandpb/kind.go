package commandpb

// Kind is any of the command kinds, for code that builds a Command around one
// it was given. The generated interface has no exported name.
type Kind = isCommand_Kind
