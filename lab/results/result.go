// Package results keeps the figures of the long runs, each run in a file of its own, and writes them into the documents.
package results

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Result is what one run has measured, and where and of what. What is not known of an old run is left out.
type Result struct {
	Commit   string   `json:"commit"`
	Dirty    bool     `json:"dirty,omitempty"` // other code than the commit's was measured
	Date     string   `json:"date"`
	Recorded string   `json:"recorded,omitempty"` // how, if not by the run itself
	Clock    string   `json:"clock,omitempty"`    // skip or real
	Machine  *Machine `json:"machine,omitempty"`
	// Parameters are variables of the Makefile and of scenarios.
	Parameters map[string]string `json:"parameters,omitempty"`
	// Guest time is that of the virtual machine that took longest.
	GuestSeconds float64            `json:"guest_seconds,omitempty"`
	HostSeconds  float64            `json:"host_seconds,omitempty"`
	Figures      map[string]float64 `json:"figures,omitempty"`
	Pictures     map[string]string  `json:"pictures,omitempty"` // SHA-256 of each that the run has drawn
}

// Machine is what a run was made on.
type Machine struct {
	CPU      string `json:"cpu,omitempty"`
	Cores    int    `json:"cores,omitempty"`
	MemoryMB int    `json:"memory_mb,omitempty"`
}

// String is how documents name the machine.
func (m *Machine) String() string {
	var parts []string
	if m == nil {
		return dash
	}
	if m.CPU != "" {
		parts = append(parts, m.CPU)
	}
	if m.Cores > 0 {
		parts = append(parts, fmt.Sprintf("%d cores", m.Cores))
	}
	if m.MemoryMB > 0 {
		parts = append(parts, fmt.Sprintf("%.0f GB", float64(m.MemoryMB)/1024))
	}
	return strings.Join(parts, ", ")
}

// Begin returns a result of what is measured from now on, on this machine.
func Begin(commit string, dirty bool) *Result {
	return &Result{
		Commit: commit, Dirty: dirty, Date: time.Now().UTC().Format(time.DateOnly), Machine: thisMachine(),
		Parameters: map[string]string{}, Figures: map[string]float64{}, Pictures: map[string]string{},
	}
}

// AddPicture takes in which picture this file is.
func (r *Result) AddPicture(file string) error {
	sum, err := checksum(file)
	if err == nil {
		r.Pictures[filepath.Base(file)] = sum
	}
	return err
}

func checksum(file string) (string, error) {
	text, err := os.ReadFile(file)
	return fmt.Sprintf("%x", sha256.Sum256(text)), err
}

// Add takes in figures. The second one of the same name gets "#2" behind it, and so on.
func (r *Result) Add(prefix string, figures map[string]float64) {
	for name, value := range figures {
		if math.IsNaN(value) || math.IsInf(value, 0) {
			continue
		}
		key := prefix + name
		for n := 2; ; n++ {
			if _, there := r.Figures[key]; !there {
				break
			}
			key = fmt.Sprintf("%s%s#%d", prefix, name, n)
		}
		r.Figures[key] = round(value)
	}
}

// round keeps four digits, or all of a larger number's whole ones: no run measures more.
func round(v float64) float64 {
	if v == 0 || math.Abs(v) >= 1000 {
		return math.Round(v)
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
	return math.Round(v*scale) / scale
}

// Write writes the result to a file of that name.
func (r *Result) Write(dir, name string) (file string, err error) {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	file = filepath.Join(dir, name+".json")
	return file, os.WriteFile(file, append(text, '\n'), 0o644)
}

// All are the results of a folder, by their names.
type All map[string]*Result

// Read reads all files of a folder.
func Read(dir string) (All, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	all := All{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var r Result
		decoder := json.NewDecoder(strings.NewReader(string(text)))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&r); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".json")] = &r
	}
	return all, nil
}

func (all All) names() []string { return slices.Sorted(maps.Keys(all)) }
