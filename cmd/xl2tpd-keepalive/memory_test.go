package main

import (
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func TestProgramMappings(t *testing.T) {
	const maps = `00400000-00b00000 r-xp 00000000 fe:01 393226                             /usr/sbin/xl2tpd-keepalive (deleted)
00b00000-01200000 r--p 00700000 fe:01 393226                             /usr/sbin/xl2tpd-keepalive (deleted)
01200000-01280000 rw-p 00e00000 fe:01 393226                             /usr/sbin/xl2tpd-keepalive (deleted)
01280000-01800000 rw-p 00000000 00:00 0 
b7000000-b7020000 r--p 00000000 fe:01 4711                       /usr/lib/locale/C.utf8/LC_CTYPE
bffe0000-bffe2000 r-xp 00000000 00:00 0                          [vdso]
`
	for code, want := range map[uintptr][]mapping{
		0x400010:   {{0x400000, 0xb00000}, {0xb00000, 0x1200000}},
		0xbffe0010: nil,
		0x10:       nil,
	} {
		if got := programMappings(maps, code); !reflect.DeepEqual(got, want) {
			t.Errorf("%#x: got %x, want %x", code, got, want)
		}
	}
}

// residentProgram is how much of files is resident of this process, in KB.
func residentProgram(t *testing.T) int {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "RssFile:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestUnmapProgram(t *testing.T) {
	before := residentProgram(t)
	if err := unmapProgram(); err != nil {
		t.Fatal(err)
	}
	if after := residentProgram(t); after > before*3/4 {
		t.Errorf("%d KB are resident, %d KB were", after, before)
	}
}
