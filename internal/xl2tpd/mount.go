package xl2tpd

import (
	"os"
	"path/filepath"
	"strings"
)

// fileID identifies a file in any mount namespace: by its file system and its path in that.
type fileID struct{ device, path string }

// fileID identifies the file that a path names for a process ("self" or a pid). It does not follow
// links. In a container, or a unit with its own mounts, the same path may name another file.
func (p procs) fileID(process, path string) (fileID, bool) {
	b, err := os.ReadFile(filepath.Join(p.root, process, "mountinfo"))
	if err != nil {
		return fileID{}, false
	}
	return parseMounts(string(b), path)
}

// sameFile reports whether a path names the same file for that process and for this one.
func (p procs) sameFile(pid, path string) bool {
	theirs, ok1 := p.fileID(pid, path)
	ours, ok2 := p.fileID("self", path)
	return ok1 && ok2 && theirs == ours
}

// parseMounts finds the file of a path in a /proc/PID/mountinfo (proc_pid_mountinfo(5)):
//
//	36 35 98:0 /root/of/mount /mount/point rw,noatime master:1 - ext3 /dev/root rw
//
// The longest mount point at or above the path decides; of several mounts on one point, the last.
func parseMounts(text, path string) (at fileID, ok bool) {
	longest := 0
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 5 || len(f[4]) < longest {
			continue
		}
		point := unescape.Replace(f[4])
		rest, above := strings.CutPrefix(path, strings.TrimSuffix(point, "/"))
		if !above || rest != "" && !strings.HasPrefix(rest, "/") {
			continue
		}
		longest, ok = len(f[4]), true
		at = fileID{f[2], filepath.Join(unescape.Replace(f[3]), rest)}
	}
	return at, ok
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
