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

// examine checks this host; the exit status tells whether anything was found.
func examine(o options, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithTimeout(context.Background(), examineIn)
	defer cancel()
	all := doctor.Examine(ctx, doctor.ThisHost())
	var err error
	if o.json {
		err = json.NewEncoder(stdout).Encode(all)
	} else {
		err = doctor.Text(stdout, all, coloured(stdout))
	}
	if err != nil {
		fmt.Fprintln(stderr, "xl2tpd-keepalive:", err)
		return exitError
	}
	if !doctor.Healthy(all) {
		return exitError
	}
	return exitOK
}
