package vici

import "testing"

func TestTakesL2TP(t *testing.T) {
	for _, tc := range []struct {
		name          string
		local, remote []string
		want          bool
	}{
		{"none", nil, nil, true},
		{"no protocol", nil, []string{"192.0.2.1/32"}, true},
		{"as charon prints it", nil, []string{"192.0.2.1/32[udp/l2f]"}, true},
		{"any protocol, as charon prints it", nil, []string{"203.0.113.9/32[0/l2f]"}, true},
		{"by number", nil, []string{"dynamic[17/1701]"}, true},
		{"any port", nil, []string{"dynamic[udp]"}, true},
		{"no protocol, a port", nil, []string{"dynamic[/1701]"}, true},
		{"a range", nil, []string{"dynamic[udp/1024-65535]"}, true},
		{"the second one", nil, []string{"192.0.2.9/32[icmp]", "dynamic[0/l2f]"}, true},
		{"GRE", nil, []string{"dynamic[gre]"}, false},
		{"by number, GRE", nil, []string{"dynamic[47]"}, false},
		{"TCP", nil, []string{"dynamic[tcp/l2f]"}, false},
		{"VXLAN", []string{"192.0.2.2/32[udp]"}, []string{"192.0.2.1/32[udp/4789]"}, false},
		{"VXLAN, by name", []string{"192.0.2.2/32[udp]"}, []string{"192.0.2.1/32[udp/vxlan]"}, false},
		{"any protocol to another port", nil, []string{"dynamic[0/4789]"}, false},
		{"a range without it", nil, []string{"dynamic[udp/2000-3000]"}, false},
		{"a port that nobody can know", nil, []string{"dynamic[udp/OPAQUE]"}, false},
		{"a caller behind a NAT", []string{"192.0.2.2/32[udp/l2f]"}, []string{"198.51.100.1/32[udp/61234]"}, true},
		{"a caller of any port", []string{"192.0.2.2/32[17/1701]"}, []string{"198.51.100.1/32[udp]"}, true},
		{"a caller's GRE", []string{"192.0.2.2/32[udp/l2f]"}, []string{"198.51.100.1/32[gre]"}, false},
	} {
		if got := TakesL2TP(tc.local, tc.remote); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}
