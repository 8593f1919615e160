// Package tuneyard speaks to a Tuneyard gateway: it trains and fine-tunes models on machines of your own.
//
// The calls and messages are those of the contract, generated into package tuneyardv1; [Client] holds a
// generated client for each service. What stands here is what a generated client alone gets wrong: errors
// that say which field is wrong ([Error]), a watch that survives a restart of the gateway and proves that no
// event is missing ([Client.WatchJob]), and uploads and downloads that go on where they broke off and are
// checked ([Client.UploadDataset], [Client.DownloadArtifact]).
package tuneyard

import (
	"context"
	"crypto/tls"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"tuneyard.example/go/tuneyardv1"
)

// DefaultServer is where a gateway listens unless it is told otherwise.
const DefaultServer = "127.0.0.1:50051"

// Larger than grpc's own 4 MiB, which a job's events and curves exceed.
const maxMessageBytes = 64 << 20

// Client is a connection to a gateway and the services on it. It is safe for concurrent use.
type Client struct {
	// Jobs: creating, watching, pausing, cancelling.
	Training tuneyardv1.TrainingServiceClient
	// Datasets: uploads, imports, reports.
	Datasets tuneyardv1.DatasetServiceClient
	// Base models and models of the store.
	Models tuneyardv1.ModelServiceClient
	// What jobs leave behind.
	Artifacts tuneyardv1.ArtifactServiceClient
	// Trying finished models.
	Inference tuneyardv1.InferenceServiceClient
	// Trainers, devices, the server itself.
	System tuneyardv1.SystemServiceClient

	conn     *grpc.ClientConn
	server   string
	patience time.Duration
}

// Option changes how [Dial] connects.
type Option func(*settings)

type settings struct {
	token    string
	tls      *tls.Config
	patience time.Duration
	dial     []grpc.DialOption
}

// WithToken sends a bearer token with every call.
func WithToken(token string) Option {
	return func(s *settings) { s.token = token }
}

// WithTLS speaks TLS; an empty config trusts the system's roots. Without this option nothing is encrypted,
// which is right on loopback and in private networks only.
func WithTLS(config *tls.Config) Option {
	return func(s *settings) { s.tls = config }
}

// WithPatience sets for how long WatchJob, UploadDataset and the downloads go on trying without getting any
// further: five minutes unless set.
func WithPatience(patience time.Duration) Option {
	return func(s *settings) { s.patience = patience }
}

// WithDialOptions adds options of grpc's own, such as interceptors.
func WithDialOptions(options ...grpc.DialOption) Option {
	return func(s *settings) { s.dial = append(s.dial, options...) }
}

// Dial makes a client of the gateway at HOST:PORT. It does not wait for the connection: the first call does.
func Dial(server string, options ...Option) (*Client, error) {
	chosen := settings{patience: 5 * time.Minute}
	for _, option := range options {
		option(&chosen)
	}
	dial, err := chosen.dialOptions()
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(server, dial...)
	if err != nil {
		return nil, fmt.Errorf("tuneyard: %w", err)
	}
	return &Client{
		Training:  tuneyardv1.NewTrainingServiceClient(conn),
		Datasets:  tuneyardv1.NewDatasetServiceClient(conn),
		Models:    tuneyardv1.NewModelServiceClient(conn),
		Artifacts: tuneyardv1.NewArtifactServiceClient(conn),
		Inference: tuneyardv1.NewInferenceServiceClient(conn),
		System:    tuneyardv1.NewSystemServiceClient(conn),
		conn:      conn,
		server:    server,
		patience:  chosen.patience,
	}, nil
}

// Close ends the connection and the calls on it.
func (c *Client) Close() error {
	return c.conn.Close()
}

func (s *settings) dialOptions() ([]grpc.DialOption, error) {
	transport := insecure.NewCredentials()
	if s.tls != nil {
		transport = credentials.NewTLS(s.tls)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes)),
		// Finds a dead peer under a silent stream.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
		// A gateway that restarts is back within seconds; the default waits up to two minutes.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: firstPause, Multiplier: 2, Jitter: 0.25, MaxDelay: longestPause},
			MinConnectTimeout: 10 * time.Second,
		}),
		grpc.WithChainUnaryInterceptor(typedUnaryErrors),
		grpc.WithChainStreamInterceptor(typedStreamErrors),
	}
	if s.token != "" {
		for _, char := range s.token {
			if char < ' ' || char > '~' {
				return nil, &Error{
					Code:    codes.Unauthenticated,
					Reason:  tuneyardv1.ErrorReason_ERROR_REASON_UNAUTHENTICATED,
					Message: "the token holds characters that no call can carry; it must be printable ASCII",
				}
			}
		}
		options = append(options, grpc.WithPerRPCCredentials(bearer(s.token)))
	}
	return append(options, s.dial...), nil
}

type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (b bearer) RequireTransportSecurity() bool {
	return false
}
