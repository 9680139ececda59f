package trace

import (
	"context"

	"xl2tpd-keepalive/internal/controltrace"
	"xl2tpd-keepalive/internal/doctor"
	"xl2tpd-keepalive/internal/helloguard"
	"xl2tpd-keepalive/internal/l2tp"
	"xl2tpd-keepalive/internal/message"
)

// kernelLog are the messages that the kernel logs, without secrets unless they are wanted.
type kernelLog struct {
	*helloguard.KernelLog
	secrets bool
}

// openKernelLog makes the kernel log the messages of every xl2tpd. warn is called with what a killed trace leaves.
func openKernelLog(ctx context.Context, secrets bool, warn func(error)) (source, error) {
	var ports []uint16
	if seen, err := doctor.ThisHost().Xl2tpd(ctx); err == nil {
		for _, i := range seen.Instances {
			if i.Conf != nil {
				ports = append(ports, i.Conf.Port)
			}
		}
	}
	k, err := helloguard.OpenKernelLog(ctx, ports)
	if err != nil {
		return nil, err
	}
	if k.Stays() {
		warn(message.Errorf("if this trace is killed, its nftables table stays; to remove it: nft delete table %s", helloguard.LogTable))
	}
	return kernelLog{k, secrets}, nil
}

// Next returns the next message.
func (k kernelLog) Next() (controltrace.Event, error) {
	e, err := k.KernelLog.Next()
	if !k.secrets {
		l2tp.Blank(e.Record.Payload)
	}
	return e, err
}
