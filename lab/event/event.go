// Package event defines what the guest reports to the host during a lab run: one JSON object per line.
package event

import "time"

// Kinds of event.
const (
	Start   = "start"   // a scenario or a test program begins
	Pass    = "pass"    // it held
	Fail    = "fail"    // it did not; Text says why
	Up      = "up"      // a tunnel's pppN got its addresses
	Down    = "down"    // pppN lost them; Reason says why
	Mark    = "mark"    // the scenario reached a point worth showing, named by Text
	Measure = "measure" // what was measured, in Text and Figures
	Picture = "picture" // what a program wrote to a terminal, in Text; Name is the file
	File    = "file"    // a file that the host keeps: Name and Data
	Log     = "log"     // a line for the run's log file only
	Done    = "done"    // the guest powers off
)

// Event is one line. Time is the guest's clock.
type Event struct {
	Time     time.Time `json:"t"`
	Kind     string    `json:"event"`
	Run      string    `json:"run,omitempty"` // set by the host: which VM
	Scenario string    `json:"scenario,omitempty"`
	Tunnel   string    `json:"tunnel,omitempty"`
	Link     string    `json:"link,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	Text     string    `json:"text,omitempty"`
	Name     string    `json:"name,omitempty"`
	Data     []byte    `json:"data,omitempty"`
	Busy     float64   `json:"busy,omitempty"` // seconds that the guest's processors worked for what held or did not
	// Figures are for the run's result, by their names.
	Figures Figures `json:"figures,omitempty"`
}

// Figures are figures by their names, such as loss_percent.
type Figures = map[string]float64

// Case is what the host asks of the guest: the file case.json on the second disk.
type Case struct {
	Env       map[string]string `json:"env"`       // variables that scenarios may read
	Scenarios []string          `json:"scenarios"` // files in scenarios/, in this order; behind a name, variables of its own: NAME=VALUE
	Tests     []string          `json:"tests"`     // compiled Go tests in tests/, run after the scenarios
}
