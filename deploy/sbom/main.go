// Command sbom prints what the packages of a release are made of, as a CycloneDX 1.6 bill of materials:
//
//	SOURCE_DATE_EPOCH=1795435200 go run ./deploy/sbom FILE.deb...
//
// It reads the modules from the program in each package, their checksums from go.sum, and their licences from
// deploy/debian/copyright. It runs at the root of the repository.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(files []string) error {
	if len(files) == 0 {
		return errors.New("which packages?")
	}
	built, err := buildTime(os.Getenv("SOURCE_DATE_EPOCH"))
	if err != nil {
		return err
	}
	var debs []deb
	for _, file := range files {
		d, err := readDeb(file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		debs = append(debs, d)
	}
	copyright, err := os.ReadFile("deploy/debian/copyright")
	if err != nil {
		return err
	}
	sums, err := os.ReadFile("go.sum")
	if err != nil {
		return err
	}
	b, err := bill(built, debs, parseLicences(string(copyright)), parseSums(string(sums)))
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(b)
}
