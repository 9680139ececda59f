package status

import (
	"regexp"
	"strings"
	"testing"
)

// Each state of the tunnels and of the service has its level, and its words.
func TestCheck(t *testing.T) {
	is := func(name, state string) Tunnel { return Tunnel{Name: name, State: state} }
	byHand := Tunnel{Name: "lac hand", State: "down", ByHand: true}
	down := Tunnel{Name: "lac office", State: "down", Last: &Close{Reason: "the peer closed it|again"}}
	for _, tc := range []struct {
		name     string
		tunnels  []Tunnel
		problems []string
		named    bool
		level    Level
		text     string
	}{
		{"none", nil, nil, false, LevelOK, "0 tunnels up"},
		{"alive", []Tunnel{is("lac office", "alive")}, nil, false, LevelOK, "1 tunnel up"},
		{"just up", []Tunnel{is("lac office", "up"), is("lns x", "alive")}, nil, true, LevelOK, "2 tunnels up"},
		{"silent", []Tunnel{is("lac office", "silent"), is("lns x", "alive")}, nil, false, LevelCritical, "lac office silent; 1 tunnel up"},
		{"down", []Tunnel{down}, nil, false, LevelCritical, "lac office down: the peer closed it/again"},
		{"down with a fault", []Tunnel{down}, []string{"VICI unreachable"}, false, LevelCritical, "lac office down: the peer closed it/again; VICI unreachable"},
		{"by hand", []Tunnel{byHand}, nil, false, LevelOK, "0 tunnels up; 1 to be dialled by hand"},
		{"by hand, but asked for", []Tunnel{byHand}, nil, true, LevelCritical, "lac hand down"},
		{"left alone", []Tunnel{is("lac a", "off"), is("lac b", "up")}, nil, false, LevelOK, "1 tunnel up; 1 with keepalive = no"},
		{"left alone, but asked for", []Tunnel{is("lac a", "off")}, nil, true, LevelUnknown, "1 with keepalive = no"},
		{"a fault", []Tunnel{is("lac b", "up")}, []string{"D-Bus unreachable"}, false, LevelWarning, "1 tunnel up; D-Bus unreachable"},
	} {
		level, line := Check(Report{Tunnels: tc.tunnels, Problems: tc.problems}, tc.named)
		text, _, _ := strings.Cut(line, " | ")
		if want := "XL2TPD-KEEPALIVE " + tc.level.String() + " - " + tc.text; level != tc.level || text != want {
			t.Errorf("%s: %d, %q; want %d, %q", tc.name, level, text, tc.level, want)
		}
	}
}

// One line is enough for any number of tunnels.
func TestCheckNamesAFew(t *testing.T) {
	all := make([]Tunnel, 40)
	for i := range all {
		all[i] = Tunnel{Name: "lac x", State: "down"}
	}
	_, line := Check(Report{Tunnels: all}, false)
	if want := "CRITICAL - " + strings.Repeat("lac x down; ", mostNamed) + "35 more | "; !strings.Contains(line, want) {
		t.Errorf("%q, want %q", line, want)
	}
}

// The figures have the form of the guidelines, whatever a section is called.
func TestCheckFigures(t *testing.T) {
	r := Report{Problems: []string{"a"}, Tunnels: []Tunnel{
		{Name: "lac it's=o|k", State: "alive", Link: &Link{Echoes: Echoes{Sent: 30, Recent: []*Seconds{ms(1), nil, ms(2), ms(3)}}}},
		{Name: "lac b", State: "silent", Link: &Link{Echoes: Echoes{Sent: 1, Recent: []*Seconds{nil}}}},
		{Name: "lac c", State: "down"},
	}}
	_, line := Check(r, true)
	_, figures, _ := strings.Cut(line, " | ")
	want := "up=1;;;0;3 silent=1;;0;0;3 down=1;;0;0;3 problems=1;0;;0 " +
		"'lac it_s_o_k rtt'=0.002000s;;;0 'lac it_s_o_k loss'=25.0%;;;0;100 'lac b loss'=100.0%;;;0;100"
	if figures != want {
		t.Errorf("%s\nwant\n%s", figures, want)
	}
	form := regexp.MustCompile(`^(('[^'=]+'|\w+)=[0-9.]+(s|%)?(;[0-9]*){0,4} ?)+$`)
	if !form.MatchString(figures) {
		t.Errorf("%s is not of the form %v", figures, form)
	}
	if _, line := Check(r, false); strings.Contains(line, "rtt") {
		t.Errorf("%s: one line has no room for the figures of all tunnels", line)
	}
}
