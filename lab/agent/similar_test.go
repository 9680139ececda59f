package main

import (
	"testing"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

func TestCompare(t *testing.T) {
	const tolerance = 500 * time.Millisecond
	hello := func(seconds ...float64) sentTimes {
		s := sentTimes{l2tp.SCCRP: {0}}
		for _, at := range seconds {
			s[l2tp.Hello] = append(s[l2tp.Hello], time.Duration(at*float64(time.Second)))
		}
		return s
	}
	stopped := hello(60, 120)
	stopped[l2tp.StopCCN] = []time.Duration{130 * time.Second}
	for name, c := range map[string]struct {
		one, twin, other sentTimes
		same             bool
	}{
		"all the same":                        {hello(60, 120), hello(60.1, 120.2), hello(60.2, 119.9), true},
		"one more":                            {hello(60), hello(60), hello(60, 120), false},
		"one less":                            {hello(60, 120), hello(60, 120), hello(60), false},
		"late":                                {hello(60), hello(60), hello(61), false},
		"another kind":                        {hello(60, 120), hello(60, 120), stopped, false},
		"the twin has one more at the end":    {hello(60), hello(60, 120), hello(60), true},
		"late before that":                    {hello(60), hello(60, 120), hello(61), false},
		"one more before that":                {hello(60), hello(60, 120), hello(30, 60), false},
		"the twin sends another kind":         {hello(60, 120), stopped, hello(60, 120, 140), true},
		"it stops before that":                {hello(60, 120), stopped, hello(60), false},
		"the twin differs from the beginning": {hello(60), sentTimes{}, hello(60), false},
	} {
		_, err := c.one.compare(c.other, tolerance, c.one.differsFrom(c.twin, tolerance))
		if (err == nil) != c.same {
			t.Errorf("%s: %v", name, err)
		}
	}
}
