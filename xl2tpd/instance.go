package xl2tpd

import "xl2tpd-keepalive/proc"

type Key struct {
	Path, Pipe string
	Pid        int
}

type Instance struct {
	Key
	Process    proc.ID
	Unit       string
	Connection string
	Name       string
	Conf       *Conf
	ConfErr    error
}

func (i Instance) Runs() bool { return i.Process.Pid != 0 }

func (i Instance) NetworkManager() bool { return i.Connection != "" }

type Snapshot struct {
	Instances []Instance
	Sessions  []Session
}

func (s Snapshot) Home() *Instance { return &s.Instances[0] }

type Target struct {
	Process proc.ID
	Pipe    string
}
