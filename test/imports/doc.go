// Package imports holds tests that keep the shape of the code: which package
// may import which, what only some may call, how long things may grow, and
// that everything says what it is for. The rules are data in table_test.go;
// CONTRIBUTING.md says how to change them.
//
// It must not know what any package does.
package imports
