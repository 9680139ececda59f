// Package vm boots the lab's virtual machine under QEMU and reads what its agent reports.
package vm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"xl2tpd-keepalive/lab/event"
)

// Clock is what the guest's time follows.
type Clock string

const (
	// Skip lets guest time jump over idle moments (QEMU -icount): one core, hours pass in minutes.
	Skip Clock = "skip"
	// Real lets guest time run with the host's, on two cores.
	Real Clock = "real"
)

func (c Clock) args() []string {
	if c == Real {
		return []string{"-accel", "tcg,thread=multi", "-smp", "2"}
	}
	return []string{"-accel", "tcg,thread=single", "-smp", "1", "-icount", "shift=1,sleep=off", "-rtc", "clock=vm"}
}

// notNeeded are units that a boot waits for and no scenario needs. The first has udev look at all devices that are there
// at boot; those that come later, as pppN, it sees all the same.
var notNeeded = []string{
	"systemd-udev-trigger.service", "systemd-random-seed.service", "systemd-pstore.service", "systemd-update-utmp.service",
	"systemd-update-utmp-runlevel.service", "systemd-user-sessions.service", "getty.target", "dev-hugepages.mount",
	"dev-mqueue.mount", "sys-kernel-config.mount", "sys-fs-fuse-connections.mount", "proc-sys-fs-binfmt_misc.automount",
}

// Machine is one boot.
type Machine struct {
	Image string // folder made by lab/image/build
	Disk  string // folder that becomes the second disk
	Clock Clock
	Case  event.Case
	Limit time.Duration // of host time
}

// Run boots the machine, hands each event to seen and returns after power-off. An error means that the
// machine did not get to its end, not that a scenario failed.
func (m Machine) Run(ctx context.Context, seen func(event.Event)) error {
	ctx, cancel := context.WithTimeout(ctx, m.Limit)
	defer cancel()
	work, err := os.MkdirTemp("", "lab")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	disk, err := m.makeDisk(ctx, work)
	if err != nil {
		return err
	}
	console := filepath.Join(work, "console")
	args := append(m.Clock.args(),
		"-M", "q35,nvdimm=on", "-cpu", "qemu64", "-m", "1536,slots=2,maxmem=8G", "-display", "none", "-nic", "none", "-no-reboot",
		"-kernel", filepath.Join(m.Image, "vmlinuz"), "-initrd", filepath.Join(m.Image, "initrd"),
		"-append", "root=LABEL=root rw console=ttyS0 quiet mitigations=off nowatchdog tsc=reliable"+
			" sysctl.vm.stat_interval=3600 sysctl.vm.compaction_proactiveness=0"+ // an idle guest is to be idle
			" systemd.mask="+strings.Join(notNeeded, " systemd.mask="),
		"-serial", "file:"+console, "-serial", "stdio")
	// Both disks are memory that keeps nothing: while a guest waits for a disk, the clock of an idle one would run
	// ahead, past every time limit.
	for i, file := range []string{filepath.Join(m.Image, "root.ext4"), disk} {
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		args = append(args,
			"-object", fmt.Sprintf("memory-backend-file,id=disk%d,share=off,size=%d,mem-path=%s", i, info.Size(), file),
			"-device", fmt.Sprintf("nvdimm,memdev=disk%d", i))
	}
	qemu := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	var complaint bytes.Buffer
	qemu.Stderr = &complaint
	pipe, err := qemu.StdoutPipe()
	if err != nil {
		return err
	}
	if err := qemu.Start(); err != nil {
		return err
	}
	done := false
	for lines := json.NewDecoder(pipe); ; {
		var e event.Event
		if err := lines.Decode(&e); err != nil {
			break
		}
		done = done || e.Kind == event.Done
		seen(e)
	}
	if !done {
		qemu.Process.Kill()
	}
	err = qemu.Wait()
	if done {
		return nil
	}
	text, _ := os.ReadFile(console)
	if len(text) > 2000 {
		text = text[len(text)-2000:]
	}
	return fmt.Errorf("the VM ended before its agent did: %w\n%s%s", errors.Join(err, ctx.Err()), complaint.Bytes(), text)
}

func (m Machine) makeDisk(ctx context.Context, work string) (string, error) {
	text, err := json.Marshal(m.Case)
	if err != nil {
		return "", err
	}
	tree := filepath.Join(work, "disk")
	if out, err := exec.CommandContext(ctx, "cp", "-a", m.Disk, tree).CombinedOutput(); err != nil {
		return "", fmt.Errorf("cp: %w: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(tree, "case.json"), text, 0o644); err != nil {
		return "", err
	}
	image := tree + ".ext4"
	if err := os.WriteFile(image, nil, 0o644); err != nil {
		return "", err
	}
	if err := os.Truncate(image, 400<<20); err != nil {
		return "", err
	}
	if out, err := exec.CommandContext(ctx, "mke2fs", "-q", "-F", "-t", "ext4", "-L", "lab", "-d", tree, image).CombinedOutput(); err != nil {
		return "", fmt.Errorf("mke2fs: %w: %s", err, out)
	}
	return image, nil
}
