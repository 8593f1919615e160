package tuneyard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"tuneyard.example/go/tuneyardv1"
)

const (
	domain       = "tuneyard.v1"
	reasonPrefix = "ERROR_REASON_"
)

// Error is what a call ended with. Every call of a [Client] that fails returns one, also the generated ones:
//
//	var failed *tuneyard.Error
//	if errors.As(err, &failed) && failed.Reason == tuneyardv1.ErrorReason_ERROR_REASON_INVALID_FIELD {
//		for _, violation := range failed.Violations { … }
//	}
//
// status.Code and status.Convert of grpc work on it too, and errors.Is finds context.Canceled and
// context.DeadlineExceeded where the caller's context ended the call.
type Error struct {
	// The status code.
	Code codes.Code
	// Why, to branch on; unspecified where no Tuneyard server answered, or one that is newer than this
	// package.
	Reason tuneyardv1.ErrorReason
	// What happened, for people.
	Message string
	// Each thing that is wrong with a field of the request.
	Violations []Violation
	// When to try again; zero where the server did not say.
	RetryAfter time.Duration
	// The name of what the error is about, such as "jobs/1".
	Resource string
	// Facts for programs; which ones depends on the reason.
	Metadata map[string]string

	raw   *status.Status
	cause error
}

// Violation is one thing that is wrong with one field.
type Violation struct {
	// The full path from the request's root, such as "spec.hyperparameters.learning_rate".
	Field string
	// What is wrong and what to do, for people.
	Description string
}

// EventGapError says that a job's events do not follow one another: the promise of the event log is broken.
type EventGapError struct {
	Job        string
	After, Got int64
}

// ChecksumError says that the bytes of an artifact are not those that were announced.
type ChecksumError struct {
	Artifact string
}

func (e *Error) Error() string {
	text := strings.Builder{}
	text.WriteString("tuneyard: ")
	if e.Reason != tuneyardv1.ErrorReason_ERROR_REASON_UNSPECIFIED {
		text.WriteString(strings.TrimPrefix(e.Reason.String(), reasonPrefix))
	} else {
		text.WriteString(e.Code.String())
	}
	text.WriteString(": " + e.Message)
	for _, violation := range e.Violations {
		fmt.Fprintf(&text, "; %s: %s", violation.Field, violation.Description)
	}
	return text.String()
}

// GRPCStatus lets package status of grpc see what the server sent.
func (e *Error) GRPCStatus() *status.Status {
	if e.raw == nil {
		return status.New(e.Code, e.Message)
	}
	return e.raw
}

// Unwrap returns the error of the context that ended the call, if one did.
func (e *Error) Unwrap() error {
	return e.cause
}

func (e *EventGapError) Error() string {
	return fmt.Sprintf("tuneyard: %s: event %d follows event %d", e.Job, e.Got, e.After)
}

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("tuneyard: %s: what arrived does not have the announced SHA-256", e.Artifact)
}

// IsTransient tells whether an error may be over in a moment, so that a call which is safe to repeat is worth
// repeating: one that reads, or that carries a request id.
func IsTransient(err error) bool {
	var failed *Error
	if !errors.As(err, &failed) || failed.cause != nil {
		return false
	}
	switch failed.Reason {
	case tuneyardv1.ErrorReason_ERROR_REASON_UNSPECIFIED:
		return !failed.ours() && connectionBroke(failed.Code, failed.Message)
	case tuneyardv1.ErrorReason_ERROR_REASON_TRAINER_UNAVAILABLE,
		tuneyardv1.ErrorReason_ERROR_REASON_STORE_UNAVAILABLE,
		tuneyardv1.ErrorReason_ERROR_REASON_DATABASE_UNAVAILABLE,
		tuneyardv1.ErrorReason_ERROR_REASON_SHUTTING_DOWN,
		tuneyardv1.ErrorReason_ERROR_REASON_TOO_MANY_REQUESTS:
		return true
	default:
		return false
	}
}

func reasonOf(err error) tuneyardv1.ErrorReason {
	var failed *Error
	if errors.As(err, &failed) {
		return failed.Reason
	}
	return tuneyardv1.ErrorReason_ERROR_REASON_UNSPECIFIED
}

// connectionBroke reads a status that carries no details of ours. A server that dies under a call shows as
// any of Unavailable, Canceled and Unknown, and in the middle of a stream as an internal fault of HTTP/2 too.
func connectionBroke(code codes.Code, message string) bool {
	switch code {
	case codes.Unavailable, codes.Canceled, codes.Unknown:
		return true
	case codes.Internal:
		return strings.Contains(message, "RST_STREAM") || strings.Contains(message, "without sending trailers")
	default:
		return false
	}
}

// ours tells whether a Tuneyard server gave the error, with a reason that this package may not know.
func (e *Error) ours() bool {
	for _, detail := range e.GRPCStatus().Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == domain {
			return true
		}
	}
	return false
}

// typed turns what a call on ctx ended with into an *Error; nil and io.EOF stay what they are.
func typed(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	raw, _ := status.FromError(err)
	failed := &Error{Code: raw.Code(), Message: raw.Message(), raw: raw}
	if ended := ctx.Err(); ended != nil && (raw.Code() == codes.Canceled || raw.Code() == codes.DeadlineExceeded) {
		failed.cause = ended
	}
	if failed.ours() {
		failed.readDetails(raw.Details())
	}
	return failed
}

func (e *Error) readDetails(details []any) {
	for _, detail := range details {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			e.Reason = tuneyardv1.ErrorReason(tuneyardv1.ErrorReason_value[reasonPrefix+detail.GetReason()])
			e.Metadata = detail.GetMetadata()
		case *errdetails.BadRequest:
			for _, found := range detail.GetFieldViolations() {
				e.Violations = append(e.Violations, Violation{found.GetField(), found.GetDescription()})
			}
		case *errdetails.RetryInfo:
			e.RetryAfter = detail.GetRetryDelay().AsDuration()
		case *errdetails.ResourceInfo:
			e.Resource = detail.GetResourceName()
		}
	}
}

func typedUnaryErrors(
	ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker,
	options ...grpc.CallOption,
) error {
	return typed(ctx, invoke(ctx, method, request, reply, conn, options...))
}

func typedStreamErrors(
	ctx context.Context, description *grpc.StreamDesc, conn *grpc.ClientConn, method string, open grpc.Streamer,
	options ...grpc.CallOption,
) (grpc.ClientStream, error) {
	stream, err := open(ctx, description, conn, method, options...)
	if err != nil {
		return nil, typed(ctx, err)
	}
	return typedStream{stream}, nil
}

type typedStream struct{ grpc.ClientStream }

func (s typedStream) SendMsg(message any) error {
	return typed(s.Context(), s.ClientStream.SendMsg(message))
}

func (s typedStream) RecvMsg(message any) error {
	return typed(s.Context(), s.ClientStream.RecvMsg(message))
}
