package tuneyard

import (
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"tuneyard.example/go/tuneyardv1"
)

type watchHandler = func(
	*tuneyardv1.WatchJobRequest, grpc.ServerStreamingServer[tuneyardv1.WatchJobResponse],
) error

var lost = status.Error(codes.Unavailable, "connection reset")

func event(sequence int64) *tuneyardv1.JobEvent {
	return &tuneyardv1.JobEvent{Sequence: sequence}
}

func ended(sequence int64) *tuneyardv1.JobEvent {
	change := &tuneyardv1.StateChangeEvent{To: tuneyardv1.JobState_JOB_STATE_SUCCEEDED}
	return &tuneyardv1.JobEvent{Sequence: sequence, Body: &tuneyardv1.JobEvent_StateChange{StateChange: change}}
}

func sends(events ...*tuneyardv1.JobEvent) watchHandler {
	return breaks(nil, events...)
}

func breaks(err error, events ...*tuneyardv1.JobEvent) watchHandler {
	return func(_ *tuneyardv1.WatchJobRequest, to grpc.ServerStreamingServer[tuneyardv1.WatchJobResponse]) error {
		// The first message keeps the stream alive and holds nothing.
		for _, batch := range [][]*tuneyardv1.JobEvent{nil, events} {
			if err := to.Send(&tuneyardv1.WatchJobResponse{Events: batch}); err != nil {
				return err
			}
		}
		return err
	}
}

func sequences(t *testing.T, client *Client, after int64) (found []int64, err error) {
	t.Helper()
	for event, err := range client.WatchJob(t.Context(), "jobs/1", after) {
		if err != nil {
			return found, err
		}
		found = append(found, event.GetSequence())
	}
	return found, nil
}

func TestAWatchGoesOnAfterTheLastSequence(t *testing.T) {
	fake := &gateway{watches: []watchHandler{
		breaks(lost, event(1), event(2)), breaks(lost), sends(event(3), ended(4)),
	}}
	found, err := sequences(t, serve(t, fake), 0)
	if err != nil || !slices.Equal(found, []int64{1, 2, 3, 4}) {
		t.Errorf("got %v, %v", found, err)
	}
	if !slices.Equal(fake.offsets, []int64{0, 2, 2}) {
		t.Errorf("asked after %v", fake.offsets)
	}
}

func TestAGapEndsAWatch(t *testing.T) {
	for _, got := range []int64{3, 4, 6} {
		fake := &gateway{watches: []watchHandler{sends(event(4), event(got))}}
		found, err := sequences(t, serve(t, fake), 3)
		var gap *EventGapError
		if !errors.As(err, &gap) || *gap != (EventGapError{"jobs/1", 4, got}) || !slices.Equal(found, []int64{4}) {
			t.Errorf("got %v, %v", found, err)
		}
	}
}

func TestAStreamThatEndsEarlyIsTakenUpAgain(t *testing.T) {
	running := &tuneyardv1.Job{State: tuneyardv1.JobState_JOB_STATE_RUNNING}
	fake := &gateway{job: running, watches: []watchHandler{sends(event(1)), sends(ended(2))}}
	if found, err := sequences(t, serve(t, fake), 0); err != nil || len(found) != 2 {
		t.Errorf("got %v, %v", found, err)
	}
}

func TestAWatchAfterTheLastEventEndsAtOnce(t *testing.T) {
	done := &tuneyardv1.Job{State: tuneyardv1.JobState_JOB_STATE_FAILED, LastSequence: 9}
	fake := &gateway{job: done, watches: []watchHandler{sends()}}
	if found, err := sequences(t, serve(t, fake), 9); err != nil || found != nil {
		t.Errorf("got %v, %v", found, err)
	}
}

func TestARefusedWatchIsNotRepeated(t *testing.T) {
	fake := &gateway{watches: []watchHandler{breaks(refusal(codes.NotFound, "JOB_NOT_FOUND"))}}
	_, err := sequences(t, serve(t, fake), 0)
	if reasonOf(err) != tuneyardv1.ErrorReason_ERROR_REASON_JOB_NOT_FOUND || len(fake.offsets) != 1 {
		t.Errorf("got %v after %d calls", err, len(fake.offsets))
	}
}

func TestAWatchOfAServerThatStaysAwayEnds(t *testing.T) {
	fake := &gateway{watches: []watchHandler{
		func(*tuneyardv1.WatchJobRequest, grpc.ServerStreamingServer[tuneyardv1.WatchJobResponse]) error {
			return lost
		},
	}}
	_, err := sequences(t, serve(t, fake, WithPatience(time.Millisecond)), 0)
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
}

func TestLeavingTheLoopClosesTheStream(t *testing.T) {
	closed := make(chan struct{})
	fake := &gateway{watches: []watchHandler{func(
		request *tuneyardv1.WatchJobRequest, to grpc.ServerStreamingServer[tuneyardv1.WatchJobResponse],
	) error {
		defer close(closed)
		if err := sends(event(1))(request, to); err != nil {
			return err
		}
		<-to.Context().Done()
		return to.Context().Err()
	}}}
	for range serve(t, fake).WatchJob(t.Context(), "jobs/1", 0) {
		break
	}
	<-closed
}
