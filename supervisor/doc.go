// Package supervisor decides what to do about each tunnel.
//
// Core turns events into actions. It starts no goroutine, reads no clock and does no I/O. Loop owns one Core: it passes
// on the events of the watchers, and gives the actions to the executors. Runner restarts tasks that fail.
//
// Which step may bring a tunnel back is for package policy to say; package recovery takes it.
//
// Core's time stands still while the host is suspended (CLOCK_MONOTONIC). So no tunnel counts as silent after a suspend.
package supervisor
