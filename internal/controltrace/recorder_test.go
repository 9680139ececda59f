package controltrace

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"xl2tpd-keepalive/internal/l2tp"
)

// A recorder has the latest messages that fit, each as it was but for its secrets, and never more than its budget.
func TestRecorder(t *testing.T) {
	all := story()
	for i := range all {
		l2tp.Blank(all[i].Payload)
		all[i].Time = all[i].Time.Local()
	}
	rapid.Check(t, func(t *rapid.T) {
		var k Recorder
		var added []Record
		for range rapid.IntRange(0, 200).Draw(t, "messages") {
			r := all[rapid.IntRange(0, len(all)-1).Draw(t, "which")]
			if rapid.IntRange(0, 9).Draw(t, "large") == 0 {
				r.Payload = make([]byte, rapid.IntRange(0, maxPayload).Draw(t, "bytes"))
				r.Length = len(r.Payload)
			}
			k.Add(&r)
			added = append(added, r)
			if len(k.buf) > Budget || k.count > MaxMessages {
				t.Fatalf("%d messages in %d bytes", k.count, len(k.buf))
			}
		}
		got := k.Records()
		size := 0
		for _, r := range added[len(added)-len(got):] {
			size += headLen + len(r.Payload)
		}
		if want := added[len(added)-len(got):]; len(got) != len(want) || len(got) > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %v\nwant %v", got, want)
		}
		if more := len(added) - len(got); more > 0 && len(got) < MaxMessages && size+headLen+len(added[more-1].Payload) <= Budget {
			t.Fatalf("%d messages were forgotten, though there is room", more)
		}
	})
}

// 64 Hellos and acknowledgements fit.
func TestRecorderHoldsQuietLife(t *testing.T) {
	var k Recorder
	hello := made(0, true, payload(l2tp.Message{Type: l2tp.TypeHello, Tunnel: 1}))
	for range 3 * MaxMessages {
		k.Add(&hello)
	}
	if k.Len() != MaxMessages || len(k.Records()) != MaxMessages {
		t.Errorf("%d messages", k.Len())
	}
	if n := testing.AllocsPerRun(100, func() { k.Add(&hello) }); n != 0 {
		t.Errorf("%v allocations for a message", n)
	}
}

func TestSecretsAreNotRecorded(t *testing.T) {
	var k Recorder
	for _, r := range story() {
		k.Add(&r)
	}
	for _, r := range k.Records() {
		if hasSecret(r.Payload) {
			t.Errorf("got %q, want no secret", r.Payload)
		}
	}
}

func BenchmarkRecorder(b *testing.B) {
	var k Recorder
	hello := made(0, true, payload(l2tp.Message{Type: l2tp.TypeHello, Tunnel: 1}))
	b.ReportAllocs()
	for b.Loop() {
		k.Add(&hello)
	}
}
