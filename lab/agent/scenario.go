package main

import (
	"fmt"
	"runtime"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"xl2tpd-keepalive/lab/event"
)

// scenarioT is testscript's T outside of `go test`: scenarios run one after the other, because they share
// the client host.
type scenarioT struct {
	out    *reporter
	busy   *busyTimes
	own    []string // values of variables in this run
	failed bool
	reason string
}

func (t *scenarioT) Run(name string, f func(testscript.T)) {
	t.out.start(strings.Join(append([]string{name}, t.own...), "-"))
	sub := &scenarioT{out: t.out}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(sub)
	}()
	<-done
	busy, words := t.busy.total()
	t.out.report(event.Event{Kind: event.Log, Text: "busy seconds: " + words})
	if sub.failed {
		t.out.end(event.Fail, sub.reason, busy)
		return
	}
	t.out.end(event.Pass, "", busy)
}

func (t *scenarioT) Log(args ...any) {
	t.out.report(event.Event{Kind: event.Log, Text: fmt.Sprint(args...)})
	_, t.reason, _ = strings.Cut(fmt.Sprint(args...), "\n\n") // after testscript's environment
}

func (t *scenarioT) Fatal(args ...any) {
	t.Log(args...)
	t.FailNow()
}

func (t *scenarioT) FailNow() {
	t.failed = true
	runtime.Goexit()
}

// Skip fails: a scenario that cannot run in the lab is a defect of the lab.
func (t *scenarioT) Skip(args ...any) { t.Fatal(append([]any{"skipped: "}, args...)...) }
func (t *scenarioT) Parallel()        {}
func (t *scenarioT) Verbose() bool    { return true }
