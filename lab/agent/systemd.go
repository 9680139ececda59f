package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// systemd starts, stops, restarts or reloads units side by side and returns when that is done. It asks systemd itself: a
// systemctl each time would be one more program for the emulated processor to load.
func systemd(verb string, units ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	conn, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	begin := map[string]func(context.Context, string, string, chan<- string) (int, error){
		"start": conn.StartUnitContext, "stop": conn.StopUnitContext,
		"restart": conn.RestartUnitContext, "reload": conn.ReloadUnitContext,
	}[verb]
	if begin == nil {
		return fmt.Errorf("systemd: there is no %s", verb)
	}
	var errs []error
	results := make([]chan string, len(units))
	for i, unit := range units {
		results[i] = make(chan string, 1)
		if _, err := begin(ctx, unit+".service", "replace", results[i]); err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", verb, unit, err))
			results[i] <- "done"
		}
	}
	for i, unit := range units {
		select {
		case result := <-results[i]:
			if result != "done" {
				errs = append(errs, fmt.Errorf("%s %s: %s", verb, unit, result))
			}
		case <-ctx.Done():
			return fmt.Errorf("%s %s: %w", verb, unit, ctx.Err())
		}
	}
	return errors.Join(errs...)
}

// serviceProperty is what systemd says of the service.
func serviceProperty(name string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	value, err := conn.GetServicePropertyContext(ctx, "xl2tpd-keepalive.service", name)
	if err != nil {
		value, err = conn.GetUnitPropertyContext(ctx, "xl2tpd-keepalive.service", name)
	}
	if err != nil {
		return "", err
	}
	return fmt.Sprint(value.Value.Value()), nil
}
