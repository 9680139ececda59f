package xl2tpd

import (
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The kernel's table is read at a hint, when the link that it is about is news, but
// takes no more than its share of the time, whatever its length.
func TestTableHasItsShareOfTheTime(t *testing.T) {
	for _, test := range []struct {
		name       string
		took       time.Duration
		hintEvery  time.Duration // 0: there is none
		over       time.Duration
		least, max int64 // readings, after the first
	}{
		{"a hint each second", time.Millisecond, time.Second, time.Minute, 60, 60},
		{"a thousand links come up", 300 * time.Millisecond, 20 * time.Millisecond, time.Minute, 17, 19},
		{"no hint", time.Millisecond, 0, 10 * time.Minute, 9, 10},
		{"no hint, a very long table", time.Second, 0, 10 * time.Minute, 2, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newFixture(t)
				b.put(b.conf, "")
				var reads atomic.Int64
				b.w.sys.readFile = func(string) ([]byte, error) {
					reads.Add(1)
					time.Sleep(test.took)
					return []byte(pppol2tp), nil
				}
				b.run()
				time.Sleep(test.took + cooldownFactor*test.took)
				first := reads.Load()
				for end := time.Now().Add(test.over); time.Now().Before(end); {
					if test.hintEvery == 0 {
						time.Sleep(test.over)
						continue
					}
					b.w.Look()
					time.Sleep(test.hintEvery)
				}
				if n := reads.Load() - first; n < test.least || n > test.max {
					t.Errorf("read %d times, want %d to %d", n, test.least, test.max)
				}
				b.stop()
			})
		})
	}
}

// What a hint that came too early was about is seen without another.
func TestHintWhileTheTableRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t)
		b.put(b.conf, "")
		table := ""
		b.w.sys.readFile = func(string) ([]byte, error) {
			time.Sleep(100 * time.Millisecond)
			if table == "" {
				return nil, os.ErrNotExist
			}
			return []byte(table), nil
		}
		b.run()
		time.Sleep(150 * time.Millisecond)
		b.take()
		table = pppol2tp
		b.w.Look()
		time.Sleep(cooldownFactor*100*time.Millisecond + 100*time.Millisecond)
		if s := b.take(); len(s.Sessions) != 2 {
			t.Errorf("got %+v, want two sessions", s.Sessions)
		}
		b.stop()
	})
}
