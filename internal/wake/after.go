package wake

import (
	"context"
	"time"
)

// After waits for d. If ctx ends first, it returns the error of ctx.
func After(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
