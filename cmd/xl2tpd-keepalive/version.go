package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
)

// version is set by the linker.
var version = "unknown"

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

// build returns the program's version, the commit, Go's version and the platform.
func build() string {
	commit := ""
	if info, ok := debug.ReadBuildInfo(); ok {
		commit = revision(info.Settings)
	}
	parts := []string{version}
	if commit != "" {
		parts = append(parts, "commit "+commit)
	}
	return strings.Join(append(parts, runtime.Version(), runtime.GOOS+"/"+runtime.GOARCH), ", ")
}

// revision returns the commit that a program was built from; empty: Go does not know it.
func revision(settings []debug.BuildSetting) (commit string) {
	dirty := ""
	for _, s := range settings {
		switch {
		case s.Key == "vcs.revision":
			commit = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	if commit == "" {
		return ""
	}
	return commit + dirty
}
