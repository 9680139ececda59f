// Package policy decides which step of recovery comes next for a LAC whose tunnel is down or silent.
//
// A Situation says what is known about the LAC at one time, and a Progress how far its recovery has come. From both,
// Progress.Advance returns the step to take now, or the time to look again. StepDone takes the result of that step.
//
// A pause of the table pauses says when a step is due. Once it is, the first rule that holds says which one: first of the
// table holdBacks, then of rules. docs/recovery.md has these tables too, and a test compares them.
//
// The package reads no clock, starts no goroutine and does no I/O. Package supervisor reads the Situation from what its
// watchers report, and package recovery takes the steps.
package policy
