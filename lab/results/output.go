package results

import (
	"regexp"
	"strconv"
	"strings"
)

var (
	attribute = regexp.MustCompile(`^ *=== ATTR +\S+ (\S+) (\S+)$`)
	benchmark = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)
	fuzzTest  = regexp.MustCompile(`^=== RUN +(Fuzz\w+)$`)
	fuzzed    = regexp.MustCompile(`execs: (\d+) .*\(total: (\d+)\)`)
)

// Attribute reads a line by which a Go test states a figure (testing.T.Attr).
func Attribute(line string) (key string, value float64, ok bool) {
	m := attribute.FindStringSubmatch(line)
	if m == nil {
		return "", 0, false
	}
	value, err := strconv.ParseFloat(m[2], 64)
	return m[1], value, err == nil
}

// Output finds figures in what the go command writes, line by line.
type Output struct {
	Figures  map[string]float64
	name     string // of the package or the fuzz test that the next lines are about
	packages int
}

// Line takes in one line.
func (o *Output) Line(line string) {
	if key, value, ok := Attribute(line); ok {
		o.Figures[key] = value
		return
	}
	if m := benchmark.FindStringSubmatch(line); m != nil {
		o.values(o.name+"."+m[1], strings.Fields(m[2]))
		return
	}
	if m := fuzzTest.FindStringSubmatch(line); m != nil {
		o.name = m[1]
		return
	}
	if m := fuzzed.FindStringSubmatch(line); m != nil {
		o.values(o.name, []string{m[1], "execs", m[2], "inputs"})
		return
	}
	fields := strings.Fields(line)
	switch {
	case len(fields) == 2 && fields[0] == "pkg:":
		_, o.name, _ = strings.Cut(fields[1], "/")
	case len(fields) >= 3 && fields[0] == "ok":
		o.packages++
		o.Figures["packages"] = float64(o.packages)
	case len(fields) == 5 && fields[0] == "lab:" && fields[2] == "passed,":
		o.values("lab", []string{fields[1], "passed"})
	}
}

// values are numbers and their units, in turn.
func (o *Output) values(name string, fields []string) {
	for i := 0; i+1 < len(fields); i += 2 {
		if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
			o.Figures[name+"."+fields[i+1]] = v
		}
	}
}
