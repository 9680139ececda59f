//go:build lab

package options

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// inEffect is a line of `pppd dump`.
var inEffect = regexp.MustCompile(`(?m)^(.*?)\t\t# \(from (.*)\)$`)

var unescaped = strings.NewReplacer(`\\`, `\`, `\"`, `"`)

// listed asks the real pppd which options of these files are in effect, each with its file.
func listed(t *testing.T, dir, name string) (lines []string, err error) {
	t.Helper()
	cmd := exec.Command("pppd", "dump", "dryrun", "nodetach", "/dev/null", "file", name, "noauth")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	for _, m := range inEffect.FindAllStringSubmatch(string(out), -1) {
		if _, err := readSample(m[2]); err == nil {
			lines = append(lines, m[2]+": "+unescaped.Replace(m[1]))
		}
	}
	slices.Sort(lines)
	return lines, err
}

// visible is what pppd should list of a .want.
func visible(want []string) (lines []string) {
	for _, line := range want[1:] {
		at, option, _ := strings.Cut(line, " ")
		if at == "+" {
			continue
		}
		file, _, _ := strings.Cut(at, ":")
		lines = append(lines, file+": "+asListed(option))
	}
	slices.Sort(lines)
	return lines
}

// asListed is how pppd shows an option's value: a number in decimal, and no password.
func asListed(option string) string {
	name, value, _ := strings.Cut(option, " ")
	n, err := strconv.ParseInt(value, 0, 64)
	switch {
	case name == "password":
		return name + " ??????"
	case err == nil && name != "asyncmap":
		return name + " " + strconv.FormatInt(n, 10)
	}
	return option
}

// The real pppd takes the options of each file as its .want says, or does not start.
func TestSamplesAsPppdDoes(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, sampleFiles); err != nil {
		t.Fatal(err)
	}
	for _, name := range sampleNames(t) {
		t.Run(name, func(t *testing.T) {
			want, fault := expected(t, name)
			got, err := listed(t, dir+"/"+sampleDir, name)
			refused := fault != "" || strings.HasPrefix(name, "unknown-")
			switch {
			case refused != (err != nil):
				t.Errorf("pppd: %v, here: %q", err, fault)
			case !refused:
				if d := cmp.Diff(visible(want), got); d != "" {
					t.Error(d)
				}
			}
		})
	}
}
