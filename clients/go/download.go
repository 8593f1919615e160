package tuneyard

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"google.golang.org/grpc/codes"

	"tuneyard.example/go/tuneyardv1"
)

// DownloadArtifacts fetches everything that a job has left behind into a folder, and returns the files. Files
// that are there and right are left alone. progress may be nil; it is told of one file after the other.
func (c *Client) DownloadArtifacts(ctx context.Context, job, folder string, progress Progress) ([]string, error) {
	listed, err := c.listArtifacts(ctx, job)
	if err != nil {
		return nil, err
	}
	files := make([]string, 0, len(listed))
	for _, artifact := range listed {
		target, err := targetPath(folder, artifact.GetPath())
		if err != nil {
			return files, err
		}
		if err := c.DownloadArtifact(ctx, artifact, target, progress); err != nil {
			return files, err
		}
		files = append(files, target)
	}
	return files, nil
}

// DownloadArtifact fetches one artifact into a file, unless that file is there and right already.
//
// A download that breaks off goes on where it was, also in another program: what has arrived lies beside the
// target until it is whole. The file appears only once its SHA-256 is the one that the artifact's record
// names; a [ChecksumError] says that it is not. progress may be nil.
func (c *Client) DownloadArtifact(
	ctx context.Context, artifact *tuneyardv1.Artifact, target string, progress Progress,
) error {
	if progress == nil {
		progress = func(int64, int64) {}
	}
	if whole, err := isWhole(target, artifact); err != nil || whole {
		progress(artifact.GetSizeBytes(), artifact.GetSizeBytes())
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o777); err != nil {
		return err
	}
	// The hash in the name: the rest of an interrupted download is taken up by the same content only.
	part := filepath.Join(filepath.Dir(target), fmt.Sprintf(".%s.%.12s.part", filepath.Base(target), artifact.GetSha256()))
	// What was left of an earlier download may have been damaged since: a second time starts from nothing.
	for range 2 {
		if err := c.fill(ctx, artifact, part, progress); err != nil {
			return err
		}
		if whole, err := isWhole(part, artifact); err != nil {
			return err
		} else if whole {
			return os.Rename(part, target)
		}
		if err := os.Remove(part); err != nil {
			return err
		}
	}
	return &ChecksumError{Artifact: artifact.GetName()}
}

func (c *Client) listArtifacts(ctx context.Context, job string) ([]*tuneyardv1.Artifact, error) {
	var found []*tuneyardv1.Artifact
	patience := c.newPatience()
	request := &tuneyardv1.ListArtifactsRequest{Parent: job}
	for {
		page, err := c.Artifacts.ListArtifacts(ctx, request)
		if err != nil {
			if err = patience.after(ctx, err); err != nil {
				return nil, err
			}
			continue
		}
		found = append(found, page.GetArtifacts()...)
		if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
			return found, nil
		}
	}
}

// fill appends to the file `part` until it is as long as the artifact.
func (c *Client) fill(ctx context.Context, artifact *tuneyardv1.Artifact, part string, progress Progress) error {
	file, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o666)
	if err != nil {
		return err
	}
	defer file.Close()
	patience := c.newPatience()
	for {
		info, err := file.Stat()
		if err != nil {
			return err
		}
		if info.Size() >= artifact.GetSizeBytes() {
			return file.Close()
		}
		err = c.append(ctx, artifact, file, info.Size(), func(done int64) {
			patience.progressed()
			progress(done, artifact.GetSizeBytes())
		})
		if err != nil {
			if err = patience.after(ctx, err); err != nil {
				return err
			}
		}
	}
}

// append makes one call that fetches an artifact from an offset on.
func (c *Client) append(
	ctx context.Context, artifact *tuneyardv1.Artifact, file io.Writer, offset int64, arrived func(int64),
) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	request := &tuneyardv1.DownloadArtifactRequest{Name: artifact.GetName(), Offset: offset}
	stream, err := c.Artifacts.DownloadArtifact(ctx, request)
	if err != nil {
		return err
	}
	for {
		response, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if _, err = file.Write(response.GetChunk()); err != nil {
			return err
		}
		offset += int64(len(response.GetChunk()))
		arrived(offset)
	}
	if offset < artifact.GetSizeBytes() {
		return &Error{Code: codes.Unavailable, Message: c.server + " ended the download early"}
	}
	return nil
}

// targetPath is where an artifact goes below a folder; an error for a path that would leave it.
func targetPath(folder, path string) (string, error) {
	local := filepath.FromSlash(path)
	if !filepath.IsLocal(local) || strings.Contains(path, `\`) {
		return "", fmt.Errorf("tuneyard: the server names an artifact %q, which is not a path below a folder", path)
	}
	return filepath.Join(folder, local), nil
}

func isWhole(path string, artifact *tuneyardv1.Artifact) (bool, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.Size() != artifact.GetSizeBytes() || artifact.GetSha256() == "" {
		return info.Size() == artifact.GetSizeBytes(), nil
	}
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return false, err
	}
	return hex.EncodeToString(hash.Sum(nil)) == artifact.GetSha256(), nil
}
