// A client of a gateway: the generated ones, and what they alone get wrong.

import { randomUUID } from "node:crypto";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { type Client as Generated, createClient } from "@connectrpc/connect";
import { ArtifactService } from "./gen/tuneyard/v1/artifact_service_pb.js";
import { type CreateDatasetRequestSchema, DatasetService } from "./gen/tuneyard/v1/dataset_service_pb.js";
import type { Dataset } from "./gen/tuneyard/v1/dataset_pb.js";
import type { Artifact, JobEvent } from "./gen/tuneyard/v1/event_pb.js";
import { InferenceService } from "./gen/tuneyard/v1/inference_service_pb.js";
import { ModelService } from "./gen/tuneyard/v1/model_service_pb.js";
import { SystemService } from "./gen/tuneyard/v1/system_service_pb.js";
import { TrainingService } from "./gen/tuneyard/v1/training_service_pb.js";
import { type TransferOptions, downloadArtifact, downloadArtifacts, uploadDataset } from "./transfers.js";
import { type ConnectOptions, type Connection, open } from "./transport.js";
import { watchJob } from "./watch.js";

const PATIENCE_MS = 5 * 60_000;

/** Makes a client of a gateway. Nothing is connected before the first call; `close` it when done. */
export function connect(options: ConnectOptions = {}): Client {
  return new Client(open(options), options.patienceMs ?? PATIENCE_MS);
}

/** A connection to a gateway and the services on it. */
export class Client {
  /** Jobs: creating, watching, pausing, cancelling. */
  readonly training: Generated<typeof TrainingService>;
  /** Datasets: uploads, imports, reports. */
  readonly datasets: Generated<typeof DatasetService>;
  /** Base models and models of the store. */
  readonly models: Generated<typeof ModelService>;
  /** What jobs leave behind. */
  readonly artifacts: Generated<typeof ArtifactService>;
  /** Trying finished models. */
  readonly inference: Generated<typeof InferenceService>;
  /** Trainers, devices, the server itself. */
  readonly system: Generated<typeof SystemService>;

  readonly #connection: Connection;

  constructor(
    connection: Connection,
    readonly patienceMs: number,
  ) {
    this.#connection = connection;
    this.training = createClient(TrainingService, connection.transport);
    this.datasets = createClient(DatasetService, connection.transport);
    this.models = createClient(ModelService, connection.transport);
    this.artifacts = createClient(ArtifactService, connection.transport);
    this.inference = createClient(InferenceService, connection.transport);
    this.system = createClient(SystemService, connection.transport);
  }

  /** Ends the connection and the calls on it. */
  close(): void {
    this.#connection.close();
  }

  /**
   * Yields the events of a job after a sequence (default 0: all of them), as they arrive, until the one that
   * made the job terminal. It connects again by itself from the last event seen; each event's sequence is one
   * more than that of the event before, or EventGap is thrown. Leaving the loop closes the stream.
   */
  watchJob(
    name: string,
    { after = 0n, signal }: { after?: bigint; signal?: AbortSignal } = {},
  ): AsyncGenerator<JobEvent, void, undefined> {
    return watchJob(this, name, after, signal);
  }

  /**
   * Sends a file, such as a ZIP of images or a JSONL file, and returns the dataset, VALIDATING or further. A
   * training may name it at once: its job waits for the validation.
   *
   * The request needs a format; what else is not set is read from the file. An upload that breaks off goes on
   * with what the server lacks. A dataset of the same id with the same bytes is reused, and an unfinished
   * upload of them is taken up, also by another program: the default id is made from the file's name and
   * content. Other bytes under the same id give ALREADY_EXISTS.
   */
  uploadDataset(
    path: string,
    request: MessageInitShape<typeof CreateDatasetRequestSchema>,
    options?: TransferOptions,
  ): Promise<Dataset> {
    return uploadDataset(this, path, request, options);
  }

  /**
   * Fetches one artifact into a file, unless that file is there and right already.
   *
   * A download that breaks off goes on where it was, also in another program: what has arrived lies beside
   * the target until it is whole. The file appears only once its SHA-256 is the one that the artifact's
   * record names; otherwise ChecksumMismatch is thrown.
   */
  downloadArtifact(artifact: Artifact, target: string, options?: TransferOptions): Promise<void> {
    return downloadArtifact(this, artifact, target, options);
  }

  /** Fetches everything that a job has left behind into a folder, and returns the files. */
  downloadArtifacts(job: string, folder: string, options?: TransferOptions): Promise<string[]> {
    return downloadArtifacts(this, job, folder, options);
  }
}

/**
 * An id that no other request has. A call that creates something and carries one can be repeated: the server
 * answers with the first result.
 */
export function newRequestId(): string {
  return randomUUID();
}
