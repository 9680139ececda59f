package xl2tpd

import "fmt"

// Needed reports whether the instance ought to run: its file has tunnels, or is not known.
// NetworkManager starts and ends its own xl2tpds.
func (i Instance) Needed() bool {
	return !i.NetworkManager() && (i.Conf == nil || len(i.Conf.Sections) > 0)
}

// Names returns the instances' names for operators, in the order of Instances: their units if these
// differ, else their files. A single instance needs no name.
func (s Snapshot) Names() []string {
	names := make([]string, len(s.Instances))
	units := make(map[string]int)
	several := 0
	for _, i := range s.Instances {
		units[i.Unit]++
		if i.Runs() || i.Needed() {
			several++
		}
	}
	if several < 2 {
		return names
	}
	for n, i := range s.Instances {
		switch {
		case i.NetworkManager() && i.Name != "":
			names[n] = "NetworkManager " + i.Name
		case i.NetworkManager():
			names[n] = "NetworkManager " + i.Connection
		case i.Unit != "" && units[i.Unit] == 1:
			names[n] = i.Unit
		case i.Key.Pid != 0:
			names[n] = fmt.Sprintf("%s (pid %d)", i.Path, i.Key.Pid)
		default:
			names[n] = i.Path
		}
	}
	return names
}
