package tuneyard

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	firstPause   = 100 * time.Millisecond
	longestPause = 2 * time.Second
	// However long a server asks for.
	longestRetryAfter = 30 * time.Second
)

// patience decides when to give up on something that keeps failing without getting any further.
type patience struct {
	limit        time.Duration
	failingSince time.Time
	pause        time.Duration
}

func (c *Client) newPatience() *patience {
	return &patience{limit: c.patience}
}

// progressed starts the time anew.
func (p *patience) progressed() {
	p.failingSince = time.Time{}
	p.pause = 0
}

// after returns nil once the next attempt is due; an error that is not transient, or has lasted too long, is
// returned.
func (p *patience) after(ctx context.Context, err error) error {
	if !IsTransient(err) {
		return err
	}
	return p.wait(ctx, err)
}

// wait is after for errors of any kind.
func (p *patience) wait(ctx context.Context, err error) error {
	now := time.Now()
	if p.failingSince.IsZero() {
		p.failingSince = now
	}
	if now.Sub(p.failingSince) >= p.limit {
		return err
	}
	p.pause = min(max(2*p.pause, firstPause), longestPause)
	// Spread, so that clients do not come in step.
	pause := time.Duration(float64(p.pause) * (0.75 + rand.Float64()/2))
	var failed *Error
	if errors.As(err, &failed) {
		pause = max(pause, min(failed.RetryAfter, longestRetryAfter))
	}
	select {
	case <-time.After(pause):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
