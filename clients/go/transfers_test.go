package tuneyard

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"

	"tuneyard.example/go/tuneyardv1"
)

const imageFolder = tuneyardv1.DatasetFormat_DATASET_FORMAT_IMAGE_FOLDER

// Three chunks and a bit.
var content = bytes.Repeat([]byte("tuneyard"), 3*chunkBytes/8+1)

func hexOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

func written(t *testing.T, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "my flowers.zip")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// uploading is a gateway that waits for the bytes of whatever is created.
func uploading(uploads ...broken) *gateway {
	fake := &gateway{uploads: uploads}
	fake.create = func(request *tuneyardv1.CreateDatasetRequest) (*tuneyardv1.Dataset, error) {
		fake.dataset = &tuneyardv1.Dataset{
			Name:      "datasets/" + request.GetDatasetId(),
			State:     tuneyardv1.DatasetState_DATASET_STATE_UPLOADING,
			Format:    request.GetFormat(),
			SizeBytes: request.GetSizeBytes(),
			Sha256:    request.GetSha256(),
		}
		return fake.dataset, nil
	}
	return fake
}

func TestAnUploadGoesOnWithWhatTheServerLacks(t *testing.T) {
	fake := uploading(broken{chunkBytes, lost}, broken{2 * chunkBytes, refusal(codes.Aborted, "UPLOAD_OFFSET_MISMATCH")})
	var told []int64
	progress := func(done, total int64) {
		if total != int64(len(content)) {
			t.Errorf("a total of %d", total)
		}
		told = append(told, done)
	}
	request := &tuneyardv1.CreateDatasetRequest{Format: imageFolder}
	dataset, err := serve(t, fake).UploadDataset(t.Context(), written(t, content), request, progress)
	if err != nil {
		t.Fatal(err)
	}
	if want := "datasets/my-flowers-" + hexOf(content)[:12]; dataset.GetName() != want {
		t.Errorf("the dataset is %s", dataset.GetName())
	}
	if !bytes.Equal(fake.stored, content) || !slices.Equal(fake.offsets, []int64{0, chunkBytes, 2 * chunkBytes}) {
		t.Errorf("stored %d bytes by calls from %v", len(fake.stored), fake.offsets)
	}
	if told[len(told)-1] != int64(len(content)) || request.GetSha256() != "" {
		t.Errorf("progress %v; the caller's request is now %v", told, request)
	}
}

func TestTheSameBytesAreNotSentTwice(t *testing.T) {
	fake := &gateway{dataset: &tuneyardv1.Dataset{
		State:     tuneyardv1.DatasetState_DATASET_STATE_READY,
		Format:    imageFolder,
		SizeBytes: int64(len(content)),
		Sha256:    hexOf(content),
	}}
	fake.create = func(*tuneyardv1.CreateDatasetRequest) (*tuneyardv1.Dataset, error) {
		return nil, refusal(codes.AlreadyExists, "ALREADY_EXISTS")
	}
	client := serve(t, fake)
	request := &tuneyardv1.CreateDatasetRequest{DatasetId: "flowers", Format: imageFolder}
	if _, err := client.UploadDataset(t.Context(), written(t, content), request, nil); err != nil {
		t.Error(err)
	}
	_, err := client.UploadDataset(t.Context(), written(t, []byte("other")), request, nil)
	if reasonOf(err) != tuneyardv1.ErrorReason_ERROR_REASON_ALREADY_EXISTS {
		t.Errorf("got %v", err)
	}
	if len(fake.offsets) != 0 {
		t.Error("bytes were sent")
	}
}

func TestAFileThatShrinksEndsItsUpload(t *testing.T) {
	path := written(t, content)
	fake := uploading()
	create := fake.create
	fake.create = func(request *tuneyardv1.CreateDatasetRequest) (*tuneyardv1.Dataset, error) {
		if err := os.Truncate(path, 10); err != nil {
			t.Error(err)
		}
		return create(request)
	}
	request := &tuneyardv1.CreateDatasetRequest{Format: imageFolder}
	if _, err := serve(t, fake).UploadDataset(t.Context(), path, request, nil); err == nil {
		t.Error("the upload of half a file succeeded")
	}
}

func artifact(path string) *tuneyardv1.Artifact {
	return &tuneyardv1.Artifact{
		Name: "jobs/1/artifacts/" + path, Path: path, SizeBytes: int64(len(content)), Sha256: hexOf(content),
	}
}

func TestADownloadGoesOnWhereItWas(t *testing.T) {
	fake := &gateway{
		artifact: artifact("plots/a.bin"), content: content, downloads: []broken{{1000, lost}, {2000, nil}},
	}
	folder := t.TempDir()
	files, err := serve(t, fake).DownloadArtifacts(t.Context(), "jobs/1", folder, nil)
	target := filepath.Join(folder, "plots", "a.bin")
	if err != nil || !slices.Equal(files, []string{target}) {
		t.Fatalf("got %v, %v", files, err)
	}
	if got, err := os.ReadFile(target); err != nil || !bytes.Equal(got, content) {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
	if !slices.Equal(fake.offsets, []int64{0, 1000, 2000}) {
		t.Errorf("asked from %v", fake.offsets)
	}
	if left, _ := os.ReadDir(filepath.Dir(target)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAFileThatIsRightIsLeftAlone(t *testing.T) {
	fake := &gateway{}
	if err := serve(t, fake).DownloadArtifact(t.Context(), artifact("a"), written(t, content), nil); err != nil {
		t.Error(err)
	}
	if len(fake.offsets) != 0 {
		t.Error("it was fetched")
	}
}

func TestADamagedRestIsFetchedAnew(t *testing.T) {
	fake := &gateway{content: content}
	target := filepath.Join(t.TempDir(), "a.bin")
	part := filepath.Join(filepath.Dir(target), ".a.bin."+hexOf(content)[:12]+".part")
	if err := os.WriteFile(part, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := serve(t, fake).DownloadArtifact(t.Context(), artifact("a.bin"), target, nil); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(fake.offsets, []int64{7, 0}) {
		t.Errorf("asked from %v", fake.offsets)
	}
}

func TestWrongBytesNeverAppear(t *testing.T) {
	fake := &gateway{content: bytes.Repeat([]byte("x"), len(content))}
	target := filepath.Join(t.TempDir(), "a.bin")
	var wrong *ChecksumError
	if err := serve(t, fake).DownloadArtifact(t.Context(), artifact("a.bin"), target, nil); !errors.As(err, &wrong) {
		t.Errorf("got %v", err)
	}
	if left, _ := os.ReadDir(filepath.Dir(target)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestNoArtifactLeavesItsFolder(t *testing.T) {
	for _, path := range []string{"../a", "/etc/a", "a/../../b", `a\b`, ""} {
		if _, err := targetPath("folder", path); err == nil {
			t.Errorf("%q was accepted", path)
		}
	}
}
