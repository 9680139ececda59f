// Package doctor checks a host and its tunnels for known causes of failure. For each
// problem it says what to do. It changes nothing.
package doctor
