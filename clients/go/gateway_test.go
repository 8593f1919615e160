package tuneyard

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"tuneyard.example/go/tuneyardv1"
)

// gateway answers on a real socket, by what a test sets.
type gateway struct {
	tuneyardv1.UnimplementedTrainingServiceServer
	tuneyardv1.UnimplementedDatasetServiceServer
	tuneyardv1.UnimplementedArtifactServiceServer
	tuneyardv1.UnimplementedSystemServiceServer

	// One for each WatchJob call, in turn; the last one for all that follow.
	watches []func(*tuneyardv1.WatchJobRequest, grpc.ServerStreamingServer[tuneyardv1.WatchJobResponse]) error
	job     *tuneyardv1.Job
	info    func() (*tuneyardv1.GetServerInfoResponse, error)

	create  func(*tuneyardv1.CreateDatasetRequest) (*tuneyardv1.Dataset, error)
	dataset *tuneyardv1.Dataset
	stored  []byte
	// What UploadDataset ends with after so many bytes of a call, in turn.
	uploads []broken

	artifact  *tuneyardv1.Artifact
	content   []byte
	downloads []broken

	lock    sync.Mutex
	offsets []int64
	tokens  []string
}

type broken struct {
	after int
	err   error
}

func serve(t *testing.T, fake *gateway, options ...Option) *Client {
	t.Helper()
	return serveWith(t, fake, nil, append([]Option{WithPatience(20 * time.Second)}, options...)...)
}

func serveWith(t *testing.T, fake *gateway, server []grpc.ServerOption, options ...Option) *Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := grpc.NewServer(server...)
	tuneyardv1.RegisterTrainingServiceServer(served, fake)
	tuneyardv1.RegisterDatasetServiceServer(served, fake)
	tuneyardv1.RegisterArtifactServiceServer(served, fake)
	tuneyardv1.RegisterSystemServiceServer(served, fake)
	go func() { _ = served.Serve(listener) }()
	t.Cleanup(served.Stop)
	client, err := Dial(listener.Addr().String(), options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func (g *gateway) called(ctx context.Context, offset int64) int {
	g.lock.Lock()
	defer g.lock.Unlock()
	sent, _ := metadata.FromIncomingContext(ctx)
	g.tokens = append(g.tokens, sent.Get("authorization")...)
	g.offsets = append(g.offsets, offset)
	return len(g.offsets) - 1
}

func (g *gateway) GetServerInfo(
	ctx context.Context, _ *tuneyardv1.GetServerInfoRequest,
) (*tuneyardv1.GetServerInfoResponse, error) {
	g.called(ctx, 0)
	return g.info()
}

func (g *gateway) GetJob(context.Context, *tuneyardv1.GetJobRequest) (*tuneyardv1.GetJobResponse, error) {
	return &tuneyardv1.GetJobResponse{Job: g.job}, nil
}

func (g *gateway) WatchJob(
	request *tuneyardv1.WatchJobRequest, stream grpc.ServerStreamingServer[tuneyardv1.WatchJobResponse],
) error {
	index := g.called(stream.Context(), request.GetAfterSequence())
	return g.watches[min(index, len(g.watches)-1)](request, stream)
}

func (g *gateway) CreateDataset(
	_ context.Context, request *tuneyardv1.CreateDatasetRequest,
) (*tuneyardv1.CreateDatasetResponse, error) {
	dataset, err := g.create(request)
	return &tuneyardv1.CreateDatasetResponse{Dataset: dataset}, err
}

func (g *gateway) GetDataset(
	context.Context, *tuneyardv1.GetDatasetRequest,
) (*tuneyardv1.GetDatasetResponse, error) {
	return &tuneyardv1.GetDatasetResponse{Dataset: g.dataset}, nil
}

func (g *gateway) UploadDataset(
	stream grpc.ClientStreamingServer[tuneyardv1.UploadDatasetRequest, tuneyardv1.UploadDatasetResponse],
) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	index := g.called(stream.Context(), first.GetHeader().GetOffset())
	for int64(len(g.stored)) < g.dataset.GetSizeBytes() {
		if index < len(g.uploads) && len(g.stored) >= g.uploads[index].after {
			return g.uploads[index].err
		}
		part, err := stream.Recv()
		if err != nil {
			return err
		}
		g.stored = append(g.stored, part.GetChunk()...)
		g.dataset.Upload = &tuneyardv1.Upload{ReceivedBytes: int64(len(g.stored))}
	}
	g.dataset.State = tuneyardv1.DatasetState_DATASET_STATE_VALIDATING
	return stream.SendAndClose(&tuneyardv1.UploadDatasetResponse{Dataset: g.dataset})
}

func (g *gateway) ListArtifacts(
	context.Context, *tuneyardv1.ListArtifactsRequest,
) (*tuneyardv1.ListArtifactsResponse, error) {
	return &tuneyardv1.ListArtifactsResponse{Artifacts: []*tuneyardv1.Artifact{g.artifact}}, nil
}

func (g *gateway) DownloadArtifact(
	request *tuneyardv1.DownloadArtifactRequest,
	stream grpc.ServerStreamingServer[tuneyardv1.DownloadArtifactResponse],
) error {
	index := g.called(stream.Context(), request.GetOffset())
	end, ended := len(g.content), error(nil)
	if index < len(g.downloads) {
		end, ended = g.downloads[index].after, g.downloads[index].err
	}
	header := &tuneyardv1.DownloadHeader{Artifact: g.artifact}
	parts := []*tuneyardv1.DownloadArtifactResponse{
		{Part: &tuneyardv1.DownloadArtifactResponse_Header{Header: header}},
		{Part: &tuneyardv1.DownloadArtifactResponse_Chunk{Chunk: g.content[request.GetOffset():end]}},
	}
	for _, part := range parts {
		if err := stream.Send(part); err != nil {
			return err
		}
	}
	return ended
}
