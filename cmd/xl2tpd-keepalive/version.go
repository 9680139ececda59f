package main

import (
	"fmt"
	"io"
	"runtime"
	"strings"
)

// Both are set by the linker.
var (
	version = "unknown"
	commit  string
)

func versionCommand() command {
	return command{
		name: "version", brief: "print the version",
		about:   "The commit, the version of Go and the platform follow.",
		example: "xl2tpd-keepalive version",
		run:     runVersion,
	}
}

// runVersion prints the version.
func runVersion(_ options, stdout, _ io.Writer) int {
	fmt.Fprintln(stdout, "xl2tpd-keepalive", build())
	return exitOK
}

// build returns the program's version, the commit if it is known, Go's version and the platform.
func build() string {
	parts := []string{version}
	if commit != "" {
		parts = append(parts, "commit "+commit)
	}
	return strings.Join(append(parts, runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH), ", ")
}
