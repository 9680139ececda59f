package probe

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The figures are those of the round trips that were measured, computed in the plain way.
func TestStats(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		longest := rapid.SampledFrom([]time.Duration{time.Microsecond, time.Millisecond, time.Second, time.Hour}).Draw(t, "longest")
		trips := rapid.SliceOf(rapid.Int64Range(0, int64(longest))).Draw(t, "trips")
		lost := rapid.IntRange(0, 20).Draw(t, "lost")
		var s Stats
		for _, rtt := range trips {
			s.Reply(time.Duration(rtt))
		}
		for range lost {
			s.Lose()
		}
		if s.Received != len(trips) || s.Lost() != lost || s.Sent != s.Received+s.Lost() {
			t.Fatalf("%d sent, %d received, %d lost", s.Sent, s.Received, s.Lost())
		}
		if all := float64(len(trips) + lost); all > 0 && s.Loss() != float64(lost)/all {
			t.Errorf("loss %v", s.Loss())
		}
		if len(trips) == 0 {
			if s.Loss() > 0 && s.Loss() != 1 || s.Min != 0 || s.Max != 0 || s.Avg() != 0 || s.MDev() != 0 || s.P99() != 0 {
				t.Errorf("figures without a reply: %v %v %v %v %v", s.Min, s.Max, s.Avg(), s.MDev(), s.P99())
			}
			return
		}
		slices.Sort(trips)
		n := float64(len(trips))
		var sum, squares float64
		for _, rtt := range trips {
			sum += float64(rtt)
		}
		for _, rtt := range trips {
			squares += (float64(rtt) - sum/n) * (float64(rtt) - sum/n)
		}
		near := func(name string, got time.Duration, want float64) {
			if math.Abs(float64(got)-want) > 2+want/1e6 {
				t.Errorf("%s is %v, want %v", name, got, time.Duration(want))
			}
		}
		near("avg", s.Avg(), sum/n)
		near("mdev", s.MDev(), math.Sqrt(squares/n))
		if int64(s.Min) != trips[0] || int64(s.Max) != trips[len(trips)-1] {
			t.Errorf("min %v, max %v of %v", s.Min, s.Max, trips)
		}
		exact := trips[int(math.Ceil(0.99*n))-1]
		most := max(float64(time.Microsecond), float64(exact)*growth+1)
		if exact > int64(end(buckets-2)) {
			most = math.Inf(1)
		}
		if got := int64(s.P99()); got < exact || float64(got) > most || s.P99() < s.Min || s.P99() > s.Max {
			t.Errorf("p99 is %v, exactly %v", s.P99(), time.Duration(exact))
		}
	})
}

// Each time has the first bucket that ends no earlier.
func TestBucket(t *testing.T) {
	for i := range buckets - 1 {
		if bucket(end(i)) != i || bucket(end(i)+1) != i+1 {
			t.Errorf("bucket %d ends at %v: %d, %d", i, end(i), bucket(end(i)), bucket(end(i)+1))
		}
	}
	if last := end(buckets - 2); last < time.Minute {
		t.Errorf("the last bucket begins at %v", last)
	}
}
