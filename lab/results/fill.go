package results

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// dash stands for what was not measured.
const dash = "–"

// In a document, a number before a mark is a figure of a file: 36<!-- soak-auto tunnels -->. A format may follow the name.
// A comment that begins with the word figures has a template for what is between it and the next one, which ends it.
var (
	mark   = regexp.MustCompile(`[\d.]+(?: to [\d.]+)?<!-- ([a-z0-9-]+) (\S+)(?: (%\S+))? -->`)
	region = regexp.MustCompile(`(?s)(<!-- figures\n(.*?)-->\n\n).*?(\n<!-- end of figures -->)`)
)

// Fill returns the document with the newest figures. It is an error if no file has one of them.
func (all All) Fill(document string) (string, error) {
	var errs []error
	filled := region.ReplaceAllStringFunc(document, func(text string) string {
		part := region.FindStringSubmatch(text)
		rows, err := all.execute(part[2])
		errs = append(errs, err)
		return part[1] + rows + part[3]
	})
	filled = mark.ReplaceAllStringFunc(filled, func(text string) string {
		part := mark.FindStringSubmatch(text)
		value := all.number(part[1], part[2], part[3])
		if value == dash {
			errs = append(errs, fmt.Errorf("no file has the figure %s of %s", part[2], part[1]))
			return text
		}
		return value + text[strings.Index(text, "<"):]
	})
	return filled, errors.Join(errs...)
}

func (all All) execute(text string) (string, error) {
	t, err := template.New("figures").Funcs(template.FuncMap{
		"n": all.number, "use": all.use, "back": all.back, "files": all.names, "file": all.file,
		"words": strings.Fields, "split": strings.Split, "took": took, "short": short, "known": known, "parameters": parameters, "dashed": dashed,
		"groups": all.groups,
	}).Parse(text)
	if err != nil {
		return "", err
	}
	var rows strings.Builder
	err = t.Execute(&rows, nil)
	return rows.String(), err
}

// figure looks a figure up. How long a run took, and its parameters, count too.
func (all All) figure(file, key string) (float64, bool) {
	r := all[file]
	if r == nil {
		return 0, false
	}
	switch key {
	case "host_minutes":
		return math.Round(r.HostSeconds / 60), r.HostSeconds > 0
	case "cores":
		if r.Machine != nil {
			return float64(r.Machine.Cores), true
		}
	}
	if text, ok := r.Parameters[key]; ok {
		if d, err := time.ParseDuration(text); err == nil {
			return d.Hours(), true
		}
		v, err := strconv.ParseFloat(text, 64)
		return v, err == nil
	}
	v, ok := r.Figures[key]
	return v, ok
}

// format writes three digits of a number, or all of its whole ones, if nothing else is asked for.
func format(v float64, as string) string {
	if as != "" {
		return fmt.Sprintf(as, v)
	}
	if math.Abs(v) >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// number is a figure in a template: a dash if there is none. Of several runs it is from the lowest to the highest.
func (all All) number(file, key string, form ...string) string {
	as := strings.Join(form, "")
	if v, ok := all.figure(file, key); ok {
		return format(v, as)
	}
	low, ok1 := all.figure(file, key+".low")
	high, ok2 := all.figure(file, key+".high")
	if !ok1 || !ok2 {
		return dash
	}
	return format(low, as) + " to " + format(high, as)
}

// use is what something takes of a processor, in two digits, and of the memory.
func (all All) use(file, prefix string) string {
	percent, measured := all.figure(file, prefix+".cpu_percent")
	rss, ok := all.figure(file, prefix+".rss_mb")
	if !measured || !ok {
		return dash
	}
	cpu := fmt.Sprintf("%.2g %%", percent)
	if percent >= 10 {
		cpu = fmt.Sprintf("%.0f %%", percent)
	}
	switch {
	case rss >= 9995:
		return fmt.Sprintf("%s, %.0f GB", cpu, rss/1024)
	case rss >= 1000:
		return fmt.Sprintf("%s, %.1f GB", cpu, rss/1024)
	}
	return fmt.Sprintf("%s, %.0f MB", cpu, rss)
}

// back is how long a tunnel took to be back, as median and worst.
func (all All) back(file, prefix string) string {
	median, ok := all.figure(file, prefix+".median_s")
	lost, _ := all.figure(file, prefix+".lost")
	times, _ := all.figure(file, prefix+".times")
	_, never := all.figure(file, prefix+".never")
	switch {
	case never:
		return "never"
	case !ok:
		return dash
	case lost > 0:
		return fmt.Sprintf("%.1f s (%.0f of %.0f never)", median, lost, times)
	}
	return fmt.Sprintf("%.1f s (%s)", median, all.number(file, prefix+".worst_s", "%.1f"))
}

func (all All) file(name string) (*Result, error) {
	if r := all[name]; r != nil {
		return r, nil
	}
	return nil, fmt.Errorf("there is no result %s", name)
}

// groups are what the names of figures begin with, up to a dot.
func (all All) groups(name string) (groups []string, err error) {
	r, err := all.file(name)
	if err != nil {
		return nil, err
	}
	for _, key := range slices.Sorted(maps.Keys(r.Figures)) {
		if group, _, ok := strings.Cut(key, "."); ok && !slices.Contains(groups, group) {
			groups = append(groups, group)
		}
	}
	return groups, nil
}

func took(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d <= 0:
		return dash
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	}
	return format(d.Hours(), "") + " h"
}

func short(commit string) string { return commit[:min(7, len(commit))] }

func known(text string) string {
	if text == "" {
		return dash
	}
	return text
}

// Documents fills all documents of the project that lies in root, and returns those that change, by their paths.
func Documents(root string) (changed map[string]string, err error) {
	all, err := Read(filepath.Join(root, "docs/results"))
	if err != nil {
		return nil, err
	}
	changed = map[string]string{}
	for _, pattern := range []string{"README*.md", "docs/*.md"} {
		names, _ := filepath.Glob(filepath.Join(root, pattern))
		for _, name := range names {
			text, err1 := os.ReadFile(name)
			if err1 != nil {
				return nil, err1
			}
			filled, err1 := all.Fill(string(text))
			if err1 != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", name, err1))
			} else if filled != string(text) {
				changed[name] = filled
			}
		}
	}
	return changed, err
}

func parameters(r *Result) string {
	var words []string
	for _, name := range slices.Sorted(maps.Keys(r.Parameters)) {
		value := r.Parameters[name]
		if strings.Contains(value, " ") {
			value = strconv.Quote(value)
		}
		words = append(words, "`"+name+"="+value+"`")
	}
	return strings.Join(words, " ")
}

// dashed is the name of a figure that says several things, each of which may have blanks.
func dashed(words ...string) string { return strings.ReplaceAll(strings.Join(words, "."), " ", "-") }
