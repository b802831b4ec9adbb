// Package faults runs real nodes under load and ends them in every way that a
// test can. Its tests have the build tag "faults", because they take longer than
// the tests of every change may; "make faults" runs them.
package faults
