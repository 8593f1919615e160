package tuneyard

import (
	"context"
	"errors"
	"io"
	"iter"

	"google.golang.org/grpc/codes"

	"tuneyard.example/go/tuneyardv1"
)

// IsTerminal tells whether a job in this state will never change again.
func IsTerminal(state tuneyardv1.JobState) bool {
	switch state {
	case tuneyardv1.JobState_JOB_STATE_SUCCEEDED,
		tuneyardv1.JobState_JOB_STATE_FAILED,
		tuneyardv1.JobState_JOB_STATE_CANCELLED:
		return true
	default:
		return false
	}
}

// WatchJob yields the events of a job after a sequence (0: all of them), as they arrive, until the one that
// made the job terminal.
//
// It connects again by itself from the last event seen. Each event's sequence is one more than that of the
// event before, or the iteration ends with an [EventGapError]. An error is yielded once, last, with a nil
// event; leaving the loop closes the stream.
func (c *Client) WatchJob(ctx context.Context, name string, after int64) iter.Seq2[*tuneyardv1.JobEvent, error] {
	return func(yield func(*tuneyardv1.JobEvent, error) bool) {
		watched := watch{client: c, name: name, sequence: after, patience: c.newPatience(), yield: yield}
		for !watched.ended {
			if err := watched.once(ctx); err != nil {
				if err = watched.patience.after(ctx, err); err != nil {
					yield(nil, err)
					return
				}
			}
		}
	}
}

type watch struct {
	client   *Client
	name     string
	sequence int64
	patience *patience
	yield    func(*tuneyardv1.JobEvent, error) bool
	// The job has, or the caller has left.
	ended bool
}

// once follows one stream to its end.
func (w *watch) once(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request := &tuneyardv1.WatchJobRequest{Name: w.name, AfterSequence: w.sequence}
	stream, err := w.client.Training.WatchJob(ctx, request)
	if err != nil {
		return err
	}
	for !w.ended {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return w.atOrderlyEnd(ctx)
		}
		if err != nil {
			return err
		}
		w.patience.progressed()
		for _, event := range response.GetEvents() {
			if event.GetSequence() != w.sequence+1 {
				return &EventGapError{Job: w.name, After: w.sequence, Got: event.GetSequence()}
			}
			w.sequence = event.GetSequence()
			terminal := IsTerminal(event.GetStateChange().GetTo())
			if w.ended = !w.yield(event, nil) || terminal; w.ended {
				break
			}
		}
	}
	return nil
}

// atOrderlyEnd is reached without a terminal event by a server that stops, or where nothing was left to tell.
func (w *watch) atOrderlyEnd(ctx context.Context) error {
	answer, err := w.client.Training.GetJob(ctx, &tuneyardv1.GetJobRequest{Name: w.name})
	if err != nil {
		return err
	}
	job := answer.GetJob()
	if IsTerminal(job.GetState()) && job.GetLastSequence() <= w.sequence {
		w.ended = true
		return nil
	}
	return &Error{Code: codes.Unavailable, Message: w.client.server + " ended the stream early"}
}
