package status

import (
	"encoding/json"
	"reflect"
	"testing"

	"xl2tpd-keepalive/internal/message"
)

// A problem is its text in JSON. A command of this program gets its code and its reason, too.
func TestProblemOnItsWay(t *testing.T) {
	r := Status{Problems: []Problem{
		{Text: "no D-Bus"},
		{Code: CodeGuard, Text: message.Sprintf("hello guard unavailable: %v", "no queue"), Reason: message.Sprintf("no %s", "queue")},
	}}
	text, err := json.Marshal(r.Problems)
	if want := `["no D-Bus","hello guard unavailable: no queue"]`; err != nil || string(text) != want {
		t.Errorf("got %s, %v, want %s", text, err, want)
	}
	sent, err := json.Marshal(markedStatus(r))
	if err != nil {
		t.Fatal(err)
	}
	var m marked
	if err := json.Unmarshal(sent, &m); err != nil {
		t.Fatal(err)
	}
	if got := m.status().Problems; !reflect.DeepEqual(got, r.Problems) {
		t.Errorf("got %+v, want %+v", got, r.Problems)
	}
	var old marked // of a version without details
	if err := json.Unmarshal([]byte(`{"problems":["no D-Bus"]}`), &old); err != nil || old.status().Problems[0].Text != "no D-Bus" {
		t.Errorf("got %+v, %v", old, err)
	}
}
