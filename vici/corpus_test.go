package vici

import (
	"embed"
	"encoding/json"
	"io/fs"
	"net/netip"
	"path"
	"slices"
	"testing"
)

// Files for swanctl (.swanctl) and for the starter (.ipsec) as they occur in the field, and what charon
// lists of each (.json). Parts that others include have endings of their own.
//
//go:embed testdata/conf
var samples embed.FS

const sampleDir = "testdata/conf"

// sample is what charon lists of a file, and what that means for calls to an LNS at 192.0.2.1.
// Package main reads it too.
type sample struct {
	Host        string   `json:",omitempty"` // the LNS in xl2tpd.conf, if that is a name
	Fails       string   `json:",omitempty"` // in what swanctl or the starter says
	For         string   // "connection/child" that is for this LNS; empty: none
	L2TP        []string // each "connection/child" with selectors for port 1701 of its peer, or of this LNS
	Connections []Connection
}

var sampleLNS = netip.MustParseAddr("192.0.2.1")

func sampleNames(t *testing.T, ending string) []string {
	t.Helper()
	paths, err := fs.Glob(samples, sampleDir+"/*"+ending)
	if err != nil || len(paths) == 0 {
		t.Fatal("no samples:", err)
	}
	for i, p := range paths {
		paths[i] = path.Base(p)
	}
	return paths
}

func readSample(t *testing.T, name string) (s sample) {
	t.Helper()
	b, err := samples.ReadFile(path.Join(sampleDir, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return s
}

// takers are the children that take L2TP packets to the LNS.
func takers(all []Connection) []string {
	names := []string{}
	for _, c := range all {
		for _, child := range c.Children {
			if TakesL2TP(nil, child.RemoteTS) && Selects(child.RemoteTS, sampleLNS) {
				names = append(names, c.Name+"/"+child.Name)
			}
		}
	}
	return names
}

func TestSamples(t *testing.T) {
	for _, name := range append(sampleNames(t, ".swanctl"), sampleNames(t, ".ipsec")...) {
		s := readSample(t, name)
		if got := takers(s.Connections); !slices.Equal(got, s.L2TP) {
			t.Errorf("%s: L2TP is taken by %q, want %q", name, got, s.L2TP)
		}
	}
}
