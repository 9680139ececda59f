package helloguard

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// Each restoration is news, but not each of a storm.
func TestStormIsSaidOnce(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	said := func() int { defer text.Reset(); return strings.Count(text.String(), "\n") }
	var r restorations
	now := epoch
	if r.wait(now) != 0 {
		t.Error("the first restoration waits")
	}
	for range 300 {
		r.add(log, now)
		if r.wait(now) != restoreEvery || r.wait(now.Add(restoreEvery)) != 0 || r.calm(log, now) {
			t.Fatalf("got %+v, want a wait until restoreEvery has passed", r)
		}
		now = now.Add(restoreEvery)
	}
	if n := said(); n != manyRestorations {
		t.Errorf("%d lines on a storm", n)
	}
	now = now.Add(calmAfter)
	if !r.calm(log, now) || !strings.Contains(text.String(), "restored=300") || !r.calm(log, now) || said() != 1 {
		t.Error("the storm's end is not said once")
	}
	for range 3 {
		r.add(log, now)
		now = now.Add(time.Minute)
		if !r.calm(log, now) {
			t.Error("the table was left alone for a minute, and does not count as calm")
		}
	}
	if n := said(); n != 3 {
		t.Errorf("%d lines on three restorations", n)
	}
}
