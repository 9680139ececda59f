package main

import (
	"testing"
	"time"

	"xl2tpd-keepalive/lab/lns/l2tp"
)

func TestCompare(t *testing.T) {
	at := func(seconds ...float64) (all []time.Duration) {
		for _, s := range seconds {
			all = append(all, time.Duration(s*float64(time.Second)))
		}
		return all
	}
	with := func(client, router []time.Duration) conversation {
		return conversation{
			client: times{l2tp.Hello: client},
			router: times{l2tp.SCCRP: at(0), l2tp.Hello: router},
		}
	}
	one := with(at(60, 120, 180), at(10, 70, 120.1, 130))
	one.client[l2tp.StopCCN] = at(200)
	calls := with(at(60, 120, 180), at(10, 70, 120.1, 130))
	calls.router[l2tp.CDN] = at(80)
	for name, c := range map[string]struct {
		other conversation
		n     int // 0: they differ
	}{
		"all the same":                        {with(at(60, 120, 180), at(10.2, 69.9, 120.1, 130)), 3},
		"one more":                            {with(at(60, 120, 180), at(10, 20, 70, 120.1, 130)), 0},
		"one less":                            {with(at(60, 120, 180), at(70, 120.1, 130)), 0},
		"late":                                {with(at(60, 120, 180), at(11, 70, 120.1, 130)), 0},
		"one more behind those that met":      {with(at(60, 120, 180), at(10, 70, 120.1, 130, 140)), 3},
		"it did not send the one that is met": {with(at(60, 120, 180), at(10, 70, 130)), 3},
		"its own met before":                  {with(at(60, 120, 180), at(10, 60.1, 120)), 2},
		"late before its own met":             {with(at(60, 120, 180), at(12, 60.1, 120)), 0},
		"another kind":                        {calls, 0},
		"nothing before they met":             {with(at(0.3), at(0.3)), 0},
	} {
		if n, until, err := one.compare(c.other, 500*time.Millisecond); n != c.n || (err == nil) != (c.n > 0) {
			t.Errorf("%s: %d until %v, %v", name, n, until, err)
		}
	}
	quiet, closed := with(nil, at(60)), with(nil, at(60, 120))
	closed.client[l2tp.StopCCN] = at(120.2)
	if n, until, err := quiet.compare(closed, 500*time.Millisecond); n != 2 || err != nil {
		t.Errorf("the client closes one earlier: %d until %v, %v", n, until, err)
	}
}
