// Package status is what an operator sees of the tunnels: the report itself, the
// socket it is read from, and its form on a terminal.
package status
