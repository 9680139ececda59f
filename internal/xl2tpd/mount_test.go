package xl2tpd

import "testing"

func TestParseMounts(t *testing.T) {
	const root, run = "21 1 254:0 / / rw - ext4 /dev/vda rw\n", "30 21 0:25 / /run rw shared:5 - tmpfs tmpfs rw\n"
	for _, tt := range []struct {
		name, mounts, path string
		want               fileID
	}{
		{"one file system", root, "/etc/a", fileID{"254:0", "/etc/a"}},
		{"the longest", run + root, "/run/a", fileID{"0:25", "/a"}},
		{"not by half a name", root + run, "/running/a", fileID{"254:0", "/running/a"}},
		{"the mount point itself", root + run, "/run", fileID{"0:25", "/"}},
		{"a part of a file system", root + "40 21 254:0 /srv/conf /etc/xl2tpd rw - ext4 x rw\n", "/etc/xl2tpd/a", fileID{"254:0", "/srv/conf/a"}},
		{"a file", root + "40 21 254:0 /srv/a.conf /etc/a rw - ext4 x rw\n", "/etc/a", fileID{"254:0", "/srv/a.conf"}},
		{"one above another", root + run + "31 30 0:26 / /run rw - tmpfs tmpfs rw\n", "/run/a", fileID{"0:26", "/a"}},
		{"a space", root + "40 21 0:9 / /my\\040dir rw - tmpfs x rw\n", "/my dir/a", fileID{"0:9", "/a"}},
		{"a chroot below its mount", run, "/etc/a", fileID{}},
		{"broken", "21 1\n", "/a", fileID{}},
		{"empty", "", "/a", fileID{}},
	} {
		if got, ok := parseMounts(tt.mounts, tt.path); got != tt.want || ok != (tt.want != fileID{}) {
			t.Errorf("%s: %+v %v, want %+v", tt.name, got, ok, tt.want)
		}
	}
}
