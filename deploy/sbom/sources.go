package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// buildTime is what SOURCE_DATE_EPOCH says: a clock would make each run's bill another one.
func buildTime(epoch string) (string, error) {
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return "", fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC().Format(time.RFC3339), nil
}

// The names of SPDX for those that Debian's copyright files have.
var spdx = map[string]string{
	"Apache-2.0":   "Apache-2.0",
	"BSD-2-clause": "BSD-2-Clause",
	"BSD-3-clause": "BSD-3-Clause",
	"Expat":        "MIT",
	"MPL-2.0":      "MPL-2.0",
}

// licences are Debian's names of them, by the folder that they are for, such as vendor/golang.org/x.
type licences map[string]string

// parseLicences reads a copyright file of Debian (the machine-readable format 1.0).
func parseLicences(copyright string) licences {
	all := licences{}
	for stanza := range strings.SplitSeq(copyright, "\n\n") {
		var folders []string
		key := ""
		for line := range strings.Lines(stanza) {
			value := line
			if !strings.HasPrefix(line, " ") {
				key, value, _ = strings.Cut(line, ":")
			}
			value = strings.TrimSpace(value)
			switch key {
			case "Files":
				folders = append(folders, strings.TrimSuffix(value, "/*"))
			case "License":
				for _, folder := range folders {
					all[folder] = value
				}
				folders = nil // the text of the licence comes next
			}
		}
	}
	return all
}

// of returns SPDX's name of a module's licence: that of the innermost folder which the copyright file names.
func (l licences) of(module string) (string, error) {
	for folder := "vendor/" + module; folder != "vendor"; folder = folder[:strings.LastIndexByte(folder, '/')] {
		if name, ok := l[folder]; ok {
			if id, ok := spdx[name]; ok {
				return id, nil
			}
			return "", fmt.Errorf("%s: unknown licence %q", module, name)
		}
	}
	return "", fmt.Errorf("%s: deploy/debian/copyright does not say which licence it has", module)
}

// parseSums returns the checksums of modules in go.sum, by "path version".
func parseSums(text string) map[string]string {
	sums := map[string]string{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 3 && !strings.HasSuffix(f[1], "/go.mod") {
			sums[f[0]+" "+f[1]] = f[2]
		}
	}
	return sums
}
