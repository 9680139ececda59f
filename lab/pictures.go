package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"xl2tpd-keepalive/lab/event"
	"xl2tpd-keepalive/lab/terminal"
	"xl2tpd-keepalive/lab/vm"
)

const picturesScenario = "pictures.txtar"

// pictures plays scenarios/pictures.txtar and draws what it shows.
func (l lab) pictures(ctx context.Context) bool {
	l.record("pictures", vm.Skip, nil)
	m := l.machine(vm.Skip, event.Case{Scenarios: []string{picturesScenario}})
	ok := false
	err := m.Run(ctx, func(e event.Event) {
		switch e.Kind {
		case event.Pass:
			ok = true
		case event.Fail:
			fmt.Fprintln(os.Stderr, e.Text)
		case event.Picture:
			if err := l.draw(e.Name, e.Text); err != nil {
				fmt.Fprintln(os.Stderr, "lab:", err)
			}
		}
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
	}
	return ok && err == nil
}

func (l lab) draw(name, text string) error {
	path := filepath.Join(l.out, name+".svg")
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := terminal.SVG(file, text); err != nil {
		return err
	}
	fmt.Println("picture:", path)
	return errors.Join(file.Close(), l.recorder.picture(path))
}
