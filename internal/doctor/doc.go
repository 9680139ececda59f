// Package doctor checks a host and its tunnels for everything that is known to
// break them, and says what to do about each. It changes nothing.
package doctor
