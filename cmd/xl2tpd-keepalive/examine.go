package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"xl2tpd-keepalive/internal/doctor"
)

// examineIn is how long a round of checks may take.
const examineIn = 30 * time.Second

// examine checks this host; the exit status shows whether there is a problem.
func examine(o options, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), examineIn)
	defer cancel()
	all := doctor.Examine(ctx, doctor.ThisHost())
	shown := all
	if o.problems {
		shown = doctor.Problems(all)
	}
	var err error
	if o.json {
		err = json.NewEncoder(stdout).Encode(shown)
	} else if err = doctor.Text(stdout, shown, coloured(stdout), o.lang); err == nil {
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
