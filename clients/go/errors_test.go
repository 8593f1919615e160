package tuneyard

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"tuneyard.example/go/tuneyardv1"
)

// refusal is what a gateway answers with.
func refusal(code codes.Code, reason string, details ...protoadapt.MessageV1) error {
	info := &errdetails.ErrorInfo{Reason: reason, Domain: domain, Metadata: map[string]string{"key": "value"}}
	made, err := status.New(code, "what happened").WithDetails(append(details, info)...)
	if err != nil {
		panic(err)
	}
	return made.Err()
}

func called(t *testing.T, answer error) error {
	t.Helper()
	client := serve(t, &gateway{info: func() (*tuneyardv1.GetServerInfoResponse, error) { return nil, answer }})
	_, err := client.System.GetServerInfo(t.Context(), &tuneyardv1.GetServerInfoRequest{})
	return err
}

func TestAnErrorSaysWhichFieldIsWrong(t *testing.T) {
	err := called(t, refusal(
		codes.InvalidArgument, "INVALID_FIELD",
		&errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
			{Field: "spec.seed", Description: "too large"},
		}},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)},
		&errdetails.ResourceInfo{ResourceName: "jobs/1"},
	))
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatalf("%T is not an *Error", err)
	}
	if failed.Reason != tuneyardv1.ErrorReason_ERROR_REASON_INVALID_FIELD || failed.Message != "what happened" {
		t.Errorf("got %+v", failed)
	}
	if len(failed.Violations) != 1 || failed.Violations[0] != (Violation{"spec.seed", "too large"}) {
		t.Errorf("violations: %v", failed.Violations)
	}
	if failed.RetryAfter != time.Second || failed.Resource != "jobs/1" || failed.Metadata["key"] != "value" {
		t.Errorf("got %+v", failed)
	}
	if want := "tuneyard: INVALID_FIELD: what happened; spec.seed: too large"; err.Error() != want {
		t.Errorf("reads as %q", err)
	}
	if status.Code(err) != codes.InvalidArgument || len(status.Convert(err).Details()) != 4 {
		t.Errorf("grpc sees %v", status.Convert(err))
	}
}

func TestEveryReasonOfTheProtosIsRead(t *testing.T) {
	for value, name := range tuneyardv1.ErrorReason_name {
		err := typed(t.Context(), refusal(codes.Unknown, strings.TrimPrefix(name, reasonPrefix)))
		if got := reasonOf(err); got != tuneyardv1.ErrorReason(value) {
			t.Errorf("%s is read as %s", name, got)
		}
	}
}

func TestWhatMayBeOverInAMoment(t *testing.T) {
	for name, made := range map[string]struct {
		err  error
		want bool
	}{
		"a broken connection":         {status.Error(codes.Unavailable, "connection refused"), true},
		"a broken stream":             {status.Error(codes.Internal, "stream terminated by RST_STREAM"), true},
		"a gateway that stops":        {refusal(codes.Unavailable, "SHUTTING_DOWN"), true},
		"a reason of a newer server":  {refusal(codes.Unavailable, "MOON_PHASE"), false},
		"a wrong request":             {refusal(codes.InvalidArgument, "INVALID_FIELD"), false},
		"a fault of the server's own": {refusal(codes.Internal, "INTERNAL"), false},
		"a bare refusal":              {status.Error(codes.PermissionDenied, "no"), false},
	} {
		if got := IsTransient(typed(t.Context(), made.err)); got != made.want {
			t.Errorf("%s: IsTransient is %t", name, got)
		}
	}
}

func TestWhatTheCallerEndsIsNeitherTransientNorAFault(t *testing.T) {
	client := serve(t, &gateway{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := client.System.GetServerInfo(ctx, &tuneyardv1.GetServerInfoRequest{})
	if !errors.Is(err, context.Canceled) || IsTransient(err) {
		t.Errorf("got %v", err)
	}
}
