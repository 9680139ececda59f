package status

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"xl2tpd-keepalive/internal/message"
)

// Each state of the tunnels and of the service has its level, and its words.
func TestCheck(t *testing.T) {
	is := func(name, state string) Tunnel { return Tunnel{Name: name, State: state} }
	byHand := Tunnel{Name: "lac hand", State: "down", ByHand: true}
	down := Tunnel{Name: "lac office", State: "down", Last: &Close{Reason: "the peer closed it|again"}}
	for _, tc := range []struct {
		name     string
		tunnels  []Tunnel
		problems []Problem
		named    bool
		level    Level
		text     string
	}{
		{"none", nil, nil, false, LevelOK, "0 tunnels up"},
		{"alive", []Tunnel{is("lac office", "alive")}, nil, false, LevelOK, "1 tunnel up"},
		{"just up", []Tunnel{is("lac office", "up"), is("lns x", "alive")}, nil, true, LevelOK, "2 tunnels up"},
		{"silent", []Tunnel{is("lac office", "silent"), is("lns x", "alive")}, nil, false, LevelCritical, "lac office silent; 1 tunnel up"},
		{"down", []Tunnel{down}, nil, false, LevelCritical, "lac office down: the peer closed it/again"},
		{"down with a fault", []Tunnel{down}, []Problem{{Text: "VICI unreachable"}}, false, LevelCritical, "lac office down: the peer closed it/again; VICI unreachable"},
		{"by hand", []Tunnel{byHand}, nil, false, LevelOK, "0 tunnels up; 1 to be dialled by hand"},
		{"by hand, but asked for", []Tunnel{byHand}, nil, true, LevelCritical, "lac hand down"},
		{"observed", []Tunnel{is("lac b", "alive"), {Name: "lac a", State: "up", Observe: true, Link: &Link{}}}, nil, false, LevelWarning,
			"2 tunnels up; 1 with keepalive = observe: nothing is asked, held or recovered"},
		{"observed and down", []Tunnel{{Name: "lac a", State: "down", Observe: true}}, nil, true, LevelCritical, "lac a down"},
		{"left alone", []Tunnel{is("lac a", "off"), is("lac b", "up")}, nil, false, LevelOK, "1 tunnel up; 1 with keepalive = no"},
		{"left alone, but asked for", []Tunnel{is("lac a", "off")}, nil, true, LevelUnknown, "1 with keepalive = no"},
		{"a fault", []Tunnel{is("lac b", "up")}, []Problem{{Text: "D-Bus unreachable"}}, false, LevelWarning, "1 tunnel up; D-Bus unreachable"},
	} {
		level, line := checkTunnels(Status{Tunnels: tc.tunnels, Problems: tc.problems}, tc.named, nil)
		text, _, _ := strings.Cut(line, " | ")
		if want := "XL2TPD-KEEPALIVE " + tc.level.String() + " - " + tc.text; level != tc.level || text != want {
			t.Errorf("%s: %d, %q; want %d, %q", tc.name, level, text, tc.level, want)
		}
	}
}

// The answer of the service, or the failure to get one, is the exit status of a plugin and its one line.
func TestCheckOfAnswers(t *testing.T) {
	dir := t.TempDir()
	_, stopped := Read(t.Context(), filepath.Join(dir, "none"))
	l, err := net.Listen("unix", filepath.Join(dir, "busy"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	late, cancel := context.WithTimeout(t.Context(), 1)
	defer cancel()
	_, busy := Read(late, filepath.Join(dir, "busy"))
	r := Status{Tunnels: []Tunnel{{Name: "lac office", State: "alive"}, {Name: "lac home", State: "silent"}}}
	for _, tc := range []struct {
		name  string
		err   error
		names []string
		level Level
		text  string
	}{
		{"not running", stopped, nil, LevelCritical, "xl2tpd-keepalive is not running (systemctl start xl2tpd-keepalive)"},
		{"no answer", busy, nil, LevelCritical, "the service has not answered"},
		{"forbidden", fmt.Errorf("no | right: %w", fs.ErrPermission), nil, LevelUnknown, "no / right"},
		{"all", nil, nil, LevelCritical, "lac home silent; 1 tunnel up | "},
		{"one that is up", nil, []string{"office"}, LevelOK, "1 tunnel up | "},
		{"one that is silent", nil, []string{"home"}, LevelCritical, "lac home silent | "},
		{"none", nil, []string{"offce"}, LevelUnknown, `there is no tunnel "offce", did you mean "office"?`},
		{"none like it", nil, []string{"tokyo"}, LevelUnknown, `there is no tunnel "tokyo" (xl2tpd-keepalive status shows all)`},
	} {
		level, line := Check(r, tc.err, tc.names, nil)
		if level != tc.level || !strings.Contains(line, tc.text) || strings.Contains(line, "\n") {
			t.Errorf("%s: %v, %q; want %v, …%s…", tc.name, level, line, tc.level, tc.text)
		}
	}
}

// Libreswan's SAs can't be watched. That is how it is there, and nothing is wrong.
func TestCheckWithLibreswan(t *testing.T) {
	level, line := checkTunnels(Status{Libreswan: true, Tunnels: []Tunnel{{Name: "lac office", State: "alive"}}}, false, nil)
	want := "XL2TPD-KEEPALIVE OK - 1 tunnel up; Libreswan's SAs are not watched; echo requests and the Hello guard do not need them | "
	if level != LevelOK || !strings.HasPrefix(line, want) {
		t.Errorf("%d, %q; want %q", level, line, want)
	}
}

// The text is for people, the figures are for programs.
func TestCheckInJapanese(t *testing.T) {
	down := Tunnel{Name: "lac office", State: "down", Last: &Close{Reason: message.Sprintf("xl2tpd's Hello was unanswered for %.0f s", 31.0)}}
	_, line := checkTunnels(Status{Tunnels: []Tunnel{down, {Name: "lns x", State: "alive"}}}, false, message.Japanese())
	want := "XL2TPD-KEEPALIVE CRITICAL - lac office 切断: xl2tpd の Hello に 31 秒間応答なし; トンネル 1 本が接続中" +
		" | up=1;;;0;2 silent=0;;0;0;2 down=1;;0;0;2 problems=0;0;;0"
	if line != want {
		t.Errorf("%s\nwant\n%s", line, want)
	}
}

// One line is enough for any number of tunnels.
func TestCheckNamesAFew(t *testing.T) {
	all := make([]Tunnel, 40)
	for i := range all {
		all[i] = Tunnel{Name: "lac x", State: "down"}
	}
	_, line := checkTunnels(Status{Tunnels: all}, false, nil)
	if want := "CRITICAL - " + strings.Repeat("lac x down; ", mostNamed) + "35 more | "; !strings.Contains(line, want) {
		t.Errorf("%q, want %q", line, want)
	}
}

// The figures have the form of the guidelines, whatever a section is called.
func TestCheckFigures(t *testing.T) {
	r := Status{Problems: []Problem{{Text: "a"}}, Tunnels: []Tunnel{
		{Name: "lac it's=o|k", State: "alive", Link: &Link{Echoes: Echoes{Sent: 30, Recent: []*Seconds{ms(1), nil, ms(2), ms(3)}}}},
		{Name: "lac b", State: "silent", Link: &Link{Echoes: Echoes{Sent: 1, Recent: []*Seconds{nil}}}},
		{Name: "lac c", State: "down"},
	}}
	_, line := checkTunnels(r, true, nil)
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
	if _, line := checkTunnels(r, false, nil); strings.Contains(line, "rtt") {
		t.Errorf("%s: one line has no room for the figures of all tunnels", line)
	}
}
