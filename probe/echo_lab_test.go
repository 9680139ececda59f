//go:build lab

package probe

import (
	"errors"
	"testing"
	"time"
)

// On the kernel that users run: a bound interface of its own kind, deleted and
// made anew under the same name.
func TestDummyRecreated(t *testing.T) {
	if !alone(t, "--net") {
		return
	}
	p := pinger(t)
	run(t, "ip", "link set lo up")
	files := openFiles(t)
	for range 10 {
		run(t, "ip", "link add ppp0 type dummy\n link set ppp0 up\n addr add 10.64.0.1/32 peer 10.64.0.2/32 dev ppp0")
		link := index(t, "ppp0")
		// A dummy swallows what is sent to its peer, and answers nothing.
		res, _ := timed(t, p, t.Context(), Request{Link: "ppp0", Index: link, Source: own, Target: far, Timeout: 250 * time.Millisecond})
		if !errors.Is(res.Err, ErrTimeout) {
			t.Errorf("peer of a dummy: got %+v", res)
		}
		run(t, "ip", "link del ppp0")
		res, took := timed(t, p, t.Context(), Request{Link: "ppp0", Index: link, Target: far, Timeout: 2 * time.Second})
		if !errors.Is(res.Err, ErrGone) || took > time.Second {
			t.Errorf("deleted: got %+v in %s", res, took)
		}
	}
	if now := openFiles(t); now != files {
		t.Errorf("%d open files before, %d after", files, now)
	}
}
