package l2tp

import (
	"encoding/json"
	"testing"
	"time"
)

func TestDecodeIsStrict(t *testing.T) {
	for _, text := range []string{`{"hello": "ack"} {}`, `{"colour": 1}`, `{`, `{"idle": true}`, `{"hello": "ack"}}`, "// {}"} {
		b := Defaults()
		if b.Decode([]byte(text)) == nil {
			t.Errorf("%s: accepted", text)
		}
	}
}

func TestComments(t *testing.T) {
	b := Defaults()
	err := b.Decode([]byte("// a copy\n{\n\"vendor\": \"http://a\\\"//b\", // its name\n// nothing\n\"idle\": \"90s\" // seen\n}\n// end"))
	if err != nil || b.Vendor != `http://a"//b` || b.Idle != Duration(90*time.Second) {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestBehaviourIsWrittenAsItIsRead(t *testing.T) {
	b := Defaults()
	b.KeepaliveInterval, b.AckDelay = Duration(8801*time.Millisecond), Duration(time.Minute)
	text, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	var again Behaviour
	if err := again.Decode(text); err != nil || again != b {
		t.Errorf("%s: %+v, %v", text, again, err)
	}
}
