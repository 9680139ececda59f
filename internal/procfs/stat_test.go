package procfs

import (
	"strings"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	const rest = " 1 1 0 -1 4194560 399 393 12 0 14 25 23 24 20 0 1 0 2647 13504512 1296\n"
	good, err := ParseStat([]byte("406 (a) b (c) S 400" + rest))
	if want := (Stat{Name: "a) b (c", State: 'S', Parent: 400, Ticks: 2647}); err != nil || good != want {
		t.Errorf("got %+v, %v, want %+v", good, err, want)
	}
	for _, bad := range []string{
		"", "406", "406 (pppd", ")406(", "406 (pppd)", "406 (pppd) S 400 1 1",
		"406 (pppd) S x" + rest,
		"406 (pppd) S 400" + strings.Replace(rest, "2647", "-1", 1),
	} {
		if s, err := ParseStat([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v, want an error", bad, s)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("406 (pppd) S 400 1 1 0 -1 4194560 399 393 12 0 14 25 23 24 20 0 1 0 2647 13504512 1296\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if s, err := ParseStat(b); err == nil && s.State == 0 {
			t.Errorf("%q: no state", b)
		}
		BootTime(b)
	})
}

func TestUser(t *testing.T) {
	if uid, err := User([]byte("Name:\tUid:\nUmask:\t0022\nUid:\t1000\t0\t0\t0\nGid:\t7\t7\t7\t7\n")); err != nil || uid != 1000 {
		t.Errorf("got %d, %v, want 1000", uid, err)
	}
	for _, bad := range []string{"", "Name:\tcat\n", "Uid:\n", "Uid:\tx\t0\n"} {
		if uid, err := User([]byte(bad)); err == nil {
			t.Errorf("%q: got %d, want an error", bad, uid)
		}
	}
}

func TestBootTime(t *testing.T) {
	if at, ok := BootTime([]byte("cpu 1 2\nbtime 1700000000\nprocesses 3\n")); !ok || !at.Equal(time.Unix(1700000000, 0)) {
		t.Errorf("got %v, %v, want 2023-11-14 22:13:20", at, ok)
	}
	for _, bad := range []string{"", "cpu 1 2\n", "btime \n", "btime x\n"} {
		if at, ok := BootTime([]byte(bad)); ok {
			t.Errorf("%q: got %v, want none", bad, at)
		}
	}
}
