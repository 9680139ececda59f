package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"

	"xl2tpd-keepalive/internal/doctor"
	"xl2tpd-keepalive/internal/screen"
)

func doctorCommand() command {
	return command{
		name: "doctor", brief: "look for what closes tunnels",
		about:   "It changes nothing. The exit status is 1 if there is a problem.",
		example: "sudo xl2tpd-keepalive doctor",
		flags: func(f *flag.FlagSet, o *options) {
			defineJSON(f, o)
			boolean(f, &o.problems, "problems", "print only what is wrong")
		},
		run: runDoctor,
	}
}

// runDoctor checks this host; the exit status shows whether there is a problem.
func runDoctor(o options, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), doctor.RoundTime)
	defer cancel()
	all := doctor.Examine(ctx, doctor.ThisHost())
	shown := all
	if o.problems {
		shown = doctor.Problems(all)
	}
	var err error
	if o.json {
		err = json.NewEncoder(stdout).Encode(shown)
	} else if err = doctor.Text(stdout, shown, screen.Coloured(stdout), o.lang); err == nil {
		_, err = fmt.Fprintln(stdout, doctor.Summary(all, o.lang))
	}
	if err != nil {
		return o.fail(stderr, err)
	}
	if !doctor.Healthy(all) {
		return exitError
	}
	return exitOK
}
