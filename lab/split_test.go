package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"xl2tpd-keepalive/lab/event"
)

func TestSplit(t *testing.T) {
	scenarios := []string{"new.txtar", "hostile.txtar", "recovery.txtar", "clock.txtar"} // 50, 125, 130, 50
	want := []event.Case{
		{Scenarios: []string{"recovery.txtar", "new.txtar"}},
		{Scenarios: []string{"hostile.txtar", "clock.txtar"}, Tests: []string{"lns.test"}},
	}
	if got := split(scenarios, []string{"lns.test"}, 2); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// Each is played once, and no machine has much more to do than another.
func TestSplitOfAll(t *testing.T) {
	scenarios, err := names("scenarios")
	if err != nil {
		t.Fatal(err)
	}
	tests := []string{"helloguard.test", "lns.test", "probe.test", "xl2tpd.test"}
	var all []string
	var load []int
	for _, c := range split(scenarios, tests, 2) {
		sum := 0
		for _, name := range slices.Concat(c.Scenarios, c.Tests) {
			all = append(all, name)
			sum += seconds(name)
		}
		load = append(load, sum)
	}
	if want := slices.Sorted(slices.Values(slices.Concat(scenarios, tests))); !reflect.DeepEqual(slices.Sorted(slices.Values(all)), want) {
		t.Errorf("played %v, want %v", all, want)
	}
	if slices.Max(load)-slices.Min(load) > usual {
		t.Errorf("seconds of each machine: %v", load)
	}
}

// The table names what there is.
func TestTookNamesScenarios(t *testing.T) {
	for name := range took {
		if strings.HasSuffix(name, ".test") {
			continue
		}
		if _, err := os.Stat(filepath.Join("scenarios", name)); err != nil {
			t.Error(err)
		}
	}
}

func TestMTULines(t *testing.T) {
	for words, want := range map[string]int{"": 24, "1280 hole": 4, "1280 hole nat-t userspace": 1, "1492": 0} {
		if all := mtuLines(strings.Fields(words)); len(all) != want {
			t.Errorf("%q: %q, want %d", words, all, want)
		}
	}
}
