package tuneyard

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"tuneyard.example/go/tuneyardv1"
)

const chunkBytes = 1 << 20

var notInIDs = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// Progress is told how much of one file has been moved. Bytes that the other side already had count as moved.
type Progress func(doneBytes, totalBytes int64)

// UploadDataset sends a file, such as a ZIP of images or a JSONL file, and returns the dataset, VALIDATING or
// further. A training may name it at once: its job waits for the validation.
//
// The request needs a format; what else is not set is read from the file. An upload that breaks off goes on
// with what the server lacks. A dataset of the same id with the same bytes is reused, and an unfinished
// upload of them is taken up, also by another program: the default id is made from the file's name and
// content. Other bytes under the same id give ALREADY_EXISTS. progress may be nil.
func (c *Client) UploadDataset(
	ctx context.Context, path string, request *tuneyardv1.CreateDatasetRequest, progress Progress,
) (*tuneyardv1.Dataset, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	complete, err := completed(request, file)
	if err != nil {
		return nil, err
	}
	if progress == nil {
		progress = func(int64, int64) {}
	}
	sending := upload{client: c, file: file, patience: c.newPatience(), progress: progress}
	dataset, err := sending.createOrReuse(ctx, complete)
	if err != nil {
		return nil, err
	}
	return sending.send(ctx, dataset)
}

// NewRequestID returns an id that no other request has. A call that creates something and carries one can be
// repeated: the server answers with the first result.
func NewRequestID() string {
	return rand.Text()
}

type upload struct {
	client   *Client
	file     *os.File
	patience *patience
	progress Progress
}

func (u *upload) createOrReuse(
	ctx context.Context, request *tuneyardv1.CreateDatasetRequest,
) (*tuneyardv1.Dataset, error) {
	for {
		answer, err := u.client.Datasets.CreateDataset(ctx, request)
		if err == nil {
			return answer.GetDataset(), nil
		}
		if reasonOf(err) == tuneyardv1.ErrorReason_ERROR_REASON_ALREADY_EXISTS {
			existing, lost := u.get(ctx, "datasets/"+request.GetDatasetId())
			if lost != nil {
				return nil, lost
			}
			if !isSame(existing, request) {
				return nil, err
			}
			return existing, nil
		}
		if err = u.patience.after(ctx, err); err != nil {
			return nil, err
		}
	}
}

// send sends what the server lacks until the dataset has left UPLOADING.
func (u *upload) send(ctx context.Context, dataset *tuneyardv1.Dataset) (*tuneyardv1.Dataset, error) {
	received := int64(-1)
	for dataset.GetState() == tuneyardv1.DatasetState_DATASET_STATE_UPLOADING {
		if now := dataset.GetUpload().GetReceivedBytes(); now > received {
			received = now
			u.patience.progressed()
		}
		err := u.once(ctx, dataset)
		if reasonOf(err) == tuneyardv1.ErrorReason_ERROR_REASON_UPLOAD_OFFSET_MISMATCH {
			// A call that broke off was still storing what had arrived.
			err = u.patience.wait(ctx, err)
		} else if err != nil {
			err = u.patience.after(ctx, err)
		}
		if err == nil {
			dataset, err = u.get(ctx, dataset.GetName())
		}
		if err != nil {
			return nil, err
		}
	}
	return dataset, nil
}

// once makes one call that sends what the server lacks of the file.
func (u *upload) once(ctx context.Context, dataset *tuneyardv1.Dataset) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	offset := dataset.GetUpload().GetReceivedBytes()
	if _, err := u.file.Seek(offset, io.SeekStart); err != nil {
		return err
	}
	stream, err := u.client.Datasets.UploadDataset(ctx)
	if err != nil {
		return err
	}
	header := &tuneyardv1.UploadHeader{Name: dataset.GetName(), Offset: offset}
	part := &tuneyardv1.UploadDatasetRequest{Part: &tuneyardv1.UploadDatasetRequest_Header{Header: header}}
	for {
		if err = stream.Send(part); errors.Is(err, io.EOF) {
			break // The server has ended the call; the answer says how.
		} else if err != nil {
			return err
		}
		u.progress(offset, dataset.GetSizeBytes())
		// A buffer of its own: grpc may still read the one before.
		buffer := make([]byte, chunkBytes)
		count, err := u.file.Read(buffer)
		if errors.Is(err, io.EOF) && offset != dataset.GetSizeBytes() {
			return fmt.Errorf("tuneyard: %s has changed while it was uploaded", u.file.Name())
		} else if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		offset += int64(count)
		part = &tuneyardv1.UploadDatasetRequest{Part: &tuneyardv1.UploadDatasetRequest_Chunk{Chunk: buffer[:count]}}
	}
	answer, err := stream.CloseAndRecv()
	if err == nil && answer.GetDataset().GetState() == tuneyardv1.DatasetState_DATASET_STATE_UPLOADING {
		err = &Error{Code: codes.Unavailable, Message: u.client.server + " took only a part of the file"}
	}
	return err
}

func (u *upload) get(ctx context.Context, name string) (*tuneyardv1.Dataset, error) {
	for {
		answer, err := u.client.Datasets.GetDataset(ctx, &tuneyardv1.GetDatasetRequest{Name: name})
		if err == nil {
			return answer.GetDataset(), nil
		}
		if err = u.patience.after(ctx, err); err != nil {
			return nil, err
		}
	}
}

// completed is a copy of the request with what the file itself says.
func completed(request *tuneyardv1.CreateDatasetRequest, file *os.File) (*tuneyardv1.CreateDatasetRequest, error) {
	hash := sha256.New()
	size, err := io.Copy(hash, file)
	if err != nil {
		return nil, err
	}
	complete := proto.CloneOf(request)
	name := filepath.Base(file.Name())
	complete.SizeBytes = size
	complete.Sha256 = hex.EncodeToString(hash.Sum(nil))
	complete.DatasetId = orDefault(complete.DatasetId, contentID(name, complete.Sha256))
	complete.DisplayName = orDefault(complete.DisplayName, name)
	complete.FileName = orDefault(complete.FileName, name)
	complete.RequestId = orDefault(complete.RequestId, NewRequestID())
	return complete, nil
}

// contentID makes a dataset's id from its file's name and content: the same file gets the same id.
func contentID(fileName, sha256 string) string {
	stem, _, _ := strings.Cut(fileName, ".")
	stem = strings.Trim(notInIDs.ReplaceAllString(stem, "-"), "-._")
	return fmt.Sprintf("%.60s-%.12s", orDefault(stem, "dataset"), sha256)
}

func isSame(existing *tuneyardv1.Dataset, wanted *tuneyardv1.CreateDatasetRequest) bool {
	if existing.GetFormat() != wanted.GetFormat() || existing.GetSizeBytes() != wanted.GetSizeBytes() {
		return false
	}
	// While UPLOADING the server tells no hash, but it checks the one announced at the end.
	return existing.GetState() == tuneyardv1.DatasetState_DATASET_STATE_UPLOADING ||
		existing.GetSha256() == wanted.GetSha256()
}

func orDefault(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}
