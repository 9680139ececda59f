package results

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Tree is the commit that is checked out in a folder, and whether code differs from it. Documents and results may: a run
// that is recorded changes them. Without a repository the commit is empty.
func Tree(dir string) (commit string, dirty bool) {
	head, err := git(dir, "rev-parse", "HEAD")
	if err != nil {
		return "", false
	}
	changes, err := git(dir, "status", "--porcelain", "--", ".", ":!docs", ":!*.md")
	return head, err != nil || changes != ""
}

func git(dir string, args ...string) (string, error) {
	out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).Output()
	return strings.TrimSpace(string(out)), err
}

// thisMachine says what kind of machine this is, and not which one.
func thisMachine() *Machine {
	m := &Machine{}
	cpus, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(cpus)) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "processor":
			m.Cores++
		case "model name":
			m.CPU = strings.TrimSpace(value)
		}
	}
	memory, _ := os.ReadFile("/proc/meminfo")
	var kb int
	fmt.Sscanf(string(memory), "MemTotal: %d kB", &kb) // its first line
	m.MemoryMB = kb >> 10
	return m
}
