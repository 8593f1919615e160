// Command train uploads a ZIP with a folder of images per class, trains a classifier on it, prints what happens, and
// downloads what the job leaves behind:
//
//	go run ./examples/train -dataset flowers.zip -base-model resnet50 -epochs 15 -output flowers-model
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"google.golang.org/protobuf/proto"

	tuneyard "tuneyard.example/go"
	"tuneyard.example/go/tuneyardv1"
)

type options struct {
	server, token, dataset, baseModel, output string
	epochs                                    int
	fromScratch                               bool
}

func main() {
	var chosen options
	flag.StringVar(&chosen.server, "server", tuneyard.DefaultServer, "HOST:PORT of the gateway")
	flag.StringVar(&chosen.token, "token", os.Getenv("TUNEYARD_TOKEN"), "the bearer token, where the gateway asks for one")
	flag.StringVar(&chosen.dataset, "dataset", "", "the ZIP with the images")
	flag.StringVar(&chosen.baseModel, "base-model", "resnet50", "what to train")
	flag.IntVar(&chosen.epochs, "epochs", 0, "passes over the images (default: as recommended)")
	flag.BoolVar(&chosen.fromScratch, "from-scratch", false, "begin with random weights, not with pretrained ones")
	flag.StringVar(&chosen.output, "output", "model", "the folder for what the job leaves behind")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, chosen); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, chosen options) error {
	client, err := tuneyard.Dial(chosen.server, tuneyard.WithToken(chosen.token))
	if err != nil {
		return err
	}
	defer client.Close()

	images := &tuneyardv1.CreateDatasetRequest{Format: tuneyardv1.DatasetFormat_DATASET_FORMAT_IMAGE_FOLDER}
	dataset, err := client.UploadDataset(ctx, chosen.dataset, images, nil)
	if err != nil {
		return err
	}
	fmt.Println("uploaded", dataset.GetName())

	classifier := &tuneyardv1.ImageClassifier{Pretrained: proto.Bool(!chosen.fromScratch)}
	spec := &tuneyardv1.TrainingSpec{
		Dataset:   dataset.GetName(),
		BaseModel: chosen.baseModel,
		Task:      &tuneyardv1.TrainingSpec_ImageClassifier{ImageClassifier: classifier},
	}
	if chosen.epochs > 0 {
		spec.Hyperparameters = &tuneyardv1.Hyperparameters{Epochs: proto.Int32(int32(chosen.epochs))}
	}
	request := &tuneyardv1.TrainRequest{Spec: spec, RequestId: tuneyard.NewRequestID()}
	answer, err := client.Training.Train(ctx, request)
	if err != nil {
		return err
	}
	job := answer.GetJob().GetName()
	fmt.Println("training", job)

	var last *tuneyardv1.JobEvent
	for event, err := range client.WatchJob(ctx, job, 0) {
		if err != nil {
			return err
		}
		fmt.Println(event.GetSequence(), describe(event))
		last = event
	}
	if change := last.GetStateChange(); change.GetTo() != tuneyardv1.JobState_JOB_STATE_SUCCEEDED {
		return fmt.Errorf("%s: %s %s", word(change.GetTo()), change.GetError().GetMessage(),
			strings.Join(change.GetError().GetRemedies(), " "))
	}

	files, err := client.DownloadArtifacts(ctx, job, chosen.output, nil)
	for _, file := range files {
		fmt.Println("downloaded", file)
	}
	return err
}

// describe is one line about an event.
func describe(event *tuneyardv1.JobEvent) string {
	switch body := event.GetBody().(type) {
	case *tuneyardv1.JobEvent_StateChange:
		return "state " + word(body.StateChange.GetTo())
	case *tuneyardv1.JobEvent_Stage:
		return fmt.Sprintf("stage %s, done: %t", body.Stage.GetName(), body.Stage.GetDone())
	case *tuneyardv1.JobEvent_Progress:
		return fmt.Sprintf("progress step %d of %d", body.Progress.GetStep(), body.Progress.GetTotalSteps())
	case *tuneyardv1.JobEvent_Metrics:
		return fmt.Sprintf("metrics %v", body.Metrics.GetValues())
	case *tuneyardv1.JobEvent_Checkpoint:
		return fmt.Sprintf("checkpoint at step %d", body.Checkpoint.GetCheckpoint().GetStep())
	case *tuneyardv1.JobEvent_Artifact:
		return "artifact " + body.Artifact.GetArtifact().GetPath()
	case *tuneyardv1.JobEvent_Advice:
		return "advice " + body.Advice.GetObservation()
	}
	if body := event.ProtoReflect().WhichOneof(bodies); body != nil {
		return string(body.Name())
	}
	return "an event of a newer server"
}

var bodies = (&tuneyardv1.JobEvent{}).ProtoReflect().Descriptor().Oneofs().ByName("body")

func word(state tuneyardv1.JobState) string {
	return strings.ToLower(strings.TrimPrefix(state.String(), "JOB_STATE_"))
}
