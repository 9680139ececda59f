// Package status defines what operators see of the service and its tunnels. It serves and reads this through a socket,
// and formats it for a terminal.
package status
