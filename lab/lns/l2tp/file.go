package l2tp

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"time"
)

// Decode reads a personality file over b: one JSON object, in which "//" begins a comment that ends with the line. A
// key that b does not have is an error.
func (b *Behaviour) Decode(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(withoutComments(text)))
	d.DisallowUnknownFields()
	if err := d.Decode(b); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

// withoutComments drops the rest of a line after "//", unless that is inside a string.
func withoutComments(text []byte) []byte {
	var kept []byte
	quoted := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\' && i+1 < len(text):
			kept = append(kept, c)
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && bytes.HasPrefix(text[i:], []byte("//")):
			n := bytes.IndexByte(text[i:], '\n')
			if n < 0 {
				return kept
			}
			i += n
		}
		kept = append(kept, text[i])
	}
	return kept
}

// MarshalJSON implements json.Marshaler, as UnmarshalJSON reads it: "90s".
func (d Duration) MarshalJSON() ([]byte, error) {
	return json.Marshal(strconv.FormatFloat(time.Duration(d).Seconds(), 'f', -1, 64) + "s")
}
