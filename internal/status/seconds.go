package status

import (
	"encoding/json"
	"strconv"
	"time"
)

// Seconds is a duration; in JSON it is a number of seconds.
type Seconds time.Duration

// MarshalJSON writes whole microseconds.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Round(time.Microsecond).Seconds(), 'f', -1, 64), nil
}

// UnmarshalJSON reads the form that MarshalJSON writes.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	var f float64
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	*s = Seconds(time.Duration(f * float64(time.Second)).Round(time.Microsecond))
	return nil
}
