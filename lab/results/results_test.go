package results

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const root = "../.."

// A figure that no file has is an error, and so is a text that is not what `make results` writes.
func TestDocumentsHaveTheFiguresOfTheFiles(t *testing.T) {
	changed, err := Documents(root)
	if err != nil {
		t.Error(err)
	}
	for _, name := range slices.Sorted(maps.Keys(changed)) {
		t.Errorf("%s has other figures than docs/results: run make results", name)
	}
}

// Where figures are all that a document is for, each is marked. Scenarios hold what the rows about them say.
func TestNoFigureWithoutAFile(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/results.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, figure := range unmarked(string(text)) {
		t.Errorf("docs/results.md: %q stands there without a file that has it: mark it, as CONTRIBUTING.md says", figure)
	}
}

var (
	asCode   = regexp.MustCompile("(?m)^    .*$|`[^`]*`")
	quantity = regexp.MustCompile(`[\d.,]*\d (?:%|(?:[kMG]B|ms|s|minutes|hours|times|instructions|a second)\b).{0,20}`)
	// What a run is made with, and not what it has shown.
	given = []string{"0.2 s each way", "2 ms each way", "10 s"}
)

// unmarked are the quantities of a document that are neither in a region nor a marked figure.
func unmarked(document string) (all []string) {
	text := region.ReplaceAllString(document, "")
	text = asCode.ReplaceAllString(mark.ReplaceAllString(text, ""), "")
	for _, found := range quantity.FindAllString(text, -1) {
		if !slices.ContainsFunc(given, func(g string) bool { return strings.HasPrefix(found, g) }) {
			all = append(all, found)
		}
	}
	return all
}

func TestUnmarked(t *testing.T) {
	document := "It took 3<!-- a b --> s, of `4 s`, and 5 s more.\n\n    sleep 6 s\n\n1.5 % of 20<!-- a b --> MB.\n"
	if got, want := unmarked(document), []string{"5 s more.", "1.5 % of  MB."}; !slices.Equal(got, want) {
		t.Errorf("unmarked are %q, want %q", got, want)
	}
}

// Every file says of which commit, when and what.
func TestFilesAreComplete(t *testing.T) {
	all := ours(t)
	for name, r := range all {
		if !regexp.MustCompile(`^[0-9a-f]{40}$`).MatchString(r.Commit) {
			t.Errorf("%s: %q is no commit", name, r.Commit)
		}
		if r.Dirty {
			t.Errorf("%s: the code differed from the commit", name)
		}
		if _, err := time.Parse(time.DateOnly, r.Date); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if r.Clock != "" && r.Clock != "skip" && r.Clock != "real" {
			t.Errorf("%s: there is no clock %q", name, r.Clock)
		}
		if len(r.Figures)+len(r.Pictures) == 0 && r.HostSeconds == 0 {
			t.Errorf("%s: no figure", name)
		}
		if r.Recorded == "" && (r.Machine == nil || r.HostSeconds == 0) {
			t.Errorf("%s: a run of its own says on which machine, and how long it took", name)
		}
	}
}

// Every picture is one that a run has drawn.
func TestPicturesAreOfRuns(t *testing.T) {
	drawn := map[string]string{}
	for _, r := range ours(t) {
		maps.Copy(drawn, r.Pictures)
	}
	files, err := filepath.Glob(filepath.Join(root, "lab/*.svg"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no pictures: %v", err)
	}
	for _, file := range files {
		if sum, err := checksum(file); err != nil || drawn[filepath.Base(file)] != sum {
			t.Errorf("%s is not what a run in docs/results has drawn: %v", file, err)
		}
	}
}

// What the figures are of is in the history of what they stand in. A source package has no history: there is nothing to
// compare with.
func TestCommitsAreAncestors(t *testing.T) {
	// Each on a line of its own: whether history is cut short, and where in a repository this is.
	if answers, err := git(root, "rev-parse", "--is-shallow-repository", "--show-prefix"); err != nil || answers != "false" {
		t.Logf("the commits of the results were not looked up: the git history is not here (%q, %v)", answers, err)
		return
	}
	for name, r := range ours(t) {
		if _, err := git(root, "merge-base", "--is-ancestor", r.Commit, "HEAD"); err != nil {
			t.Errorf("%s: commit %s is no ancestor of HEAD", name, r.Commit)
		}
	}
}

func ours(t *testing.T) All {
	t.Helper()
	all, err := Read(filepath.Join(root, "docs/results"))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("there are no results")
	}
	return all
}
