// Package status defines the report on the tunnels that operators see. It serves and
// reads the report through a socket, and formats it for a terminal.
package status
