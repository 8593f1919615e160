// Moves files to and from the server: taken up after any interruption, checked by SHA-256, never half there.

import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { type FileHandle, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type MessageInitShape, clone, create } from "@bufbuild/protobuf";
import type { Client } from "./client.js";
import { ChecksumMismatch, TuneyardError, endedEarly } from "./errors.js";
import type {
  CreateDatasetRequest,
  UploadDatasetRequestSchema,
} from "./gen/tuneyard/v1/dataset_service_pb.js";
import { CreateDatasetRequestSchema } from "./gen/tuneyard/v1/dataset_service_pb.js";
import { type Dataset, DatasetState } from "./gen/tuneyard/v1/dataset_pb.js";
import { ErrorReason } from "./gen/tuneyard/v1/errors_pb.js";
import type { Artifact } from "./gen/tuneyard/v1/event_pb.js";
import { Patience } from "./patience.js";

const CHUNK_BYTES = 1 << 20;

/** How a transfer is watched and ended. */
export interface TransferOptions {
  /** Told how much of one file has been moved; bytes that the other side already had count as moved. */
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void;
  readonly signal?: AbortSignal;
}

export async function uploadDataset(
  client: Client,
  path: string,
  request: MessageInitShape<typeof CreateDatasetRequestSchema>,
  options: TransferOptions = {},
): Promise<Dataset> {
  const complete = await completed(path, request);
  const patience = new Patience(client.patienceMs, options.signal);
  let dataset = await createOrReuse(client, complete, patience);
  let received = -1n;
  while (dataset.state === DatasetState.UPLOADING) {
    const held = dataset.upload?.receivedBytes ?? 0n;
    if (held > received) {
      received = held;
      patience.progressed();
    }
    try {
      await send(client, path, dataset, options);
    } catch (error) {
      if (error instanceof TuneyardError && error.reason === ErrorReason.UPLOAD_OFFSET_MISMATCH) {
        // A call that broke off was still storing what had arrived.
        await patience.wait(error);
      } else {
        await patience.after(error);
      }
    }
    dataset = await current(client, dataset.name, patience);
  }
  return dataset;
}

export async function downloadArtifacts(
  client: Client,
  job: string,
  folder: string,
  options: TransferOptions = {},
): Promise<string[]> {
  const files: string[] = [];
  for (const artifact of await listArtifacts(client, job, options)) {
    const target = targetPath(folder, artifact.path);
    await downloadArtifact(client, artifact, target, options);
    files.push(target);
  }
  return files;
}

export async function downloadArtifact(
  client: Client,
  artifact: Artifact,
  target: string,
  options: TransferOptions = {},
): Promise<void> {
  if (await isWhole(target, artifact)) {
    options.onProgress?.(Number(artifact.sizeBytes), Number(artifact.sizeBytes));
    return;
  }
  await mkdir(dirname(target), { recursive: true });
  // The hash in the name: the rest of an interrupted download is taken up by the same content only.
  const part = join(dirname(target), `.${basename(target)}.${artifact.sha256.slice(0, 12)}.part`);
  // What was left of an earlier download may have been damaged since: a second time starts from nothing.
  for (let attempt = 0; attempt < 2; attempt++) {
    await fill(client, artifact, part, options);
    if (await isWhole(part, artifact)) {
      await rename(part, target);
      return;
    }
    await rm(part);
  }
  throw new ChecksumMismatch(artifact.name);
}

/** Where an artifact goes below a folder; throws for a path that would leave it. */
export function targetPath(folder: string, path: string): string {
  const parts = path.split("/");
  if (path.includes("\\") || parts.some((part) => part === "" || part === "." || part === "..")) {
    throw new Error(
      `the server names an artifact ${JSON.stringify(path)}, which is not a path below a folder`,
    );
  }
  return join(folder, ...parts);
}

/** The request with what the file itself says. */
async function completed(
  path: string,
  request: MessageInitShape<typeof CreateDatasetRequestSchema>,
): Promise<CreateDatasetRequest> {
  const complete = clone(CreateDatasetRequestSchema, create(CreateDatasetRequestSchema, request));
  const name = basename(path);
  complete.sizeBytes = BigInt((await stat(path)).size);
  complete.sha256 = await sha256Of(path);
  complete.datasetId ||= contentId(name, complete.sha256);
  complete.displayName ||= name;
  complete.fileName ||= name;
  complete.requestId ||= randomUUID();
  return complete;
}

/** A dataset's id from its file's name and content: the same file gets the same id. */
function contentId(fileName: string, sha256: string): string {
  const stem = (fileName.split(".")[0] ?? "")
    .replace(/[^A-Za-z0-9_.-]+/g, "-")
    .replace(/^[-._]+|[-._]+$/g, "");
  return `${(stem || "dataset").slice(0, 60)}-${sha256.slice(0, 12)}`;
}

async function createOrReuse(
  client: Client,
  request: CreateDatasetRequest,
  patience: Patience,
): Promise<Dataset> {
  for (;;) {
    try {
      const { dataset } = await client.datasets.createDataset(request, { signal: patience.signal });
      return dataset!;
    } catch (error) {
      if (error instanceof TuneyardError && error.reason === ErrorReason.ALREADY_EXISTS) {
        const existing = await current(client, `datasets/${request.datasetId}`, patience);
        if (isSame(existing, request)) {
          return existing;
        }
      }
      await patience.after(error);
    }
  }
}

function isSame(existing: Dataset, wanted: CreateDatasetRequest): boolean {
  // While UPLOADING the server tells no hash, but it checks the one announced at the end.
  const sameBytes = existing.state === DatasetState.UPLOADING || existing.sha256 === wanted.sha256;
  return sameBytes && existing.format === wanted.format && existing.sizeBytes === wanted.sizeBytes;
}

async function current(client: Client, name: string, patience: Patience): Promise<Dataset> {
  for (;;) {
    try {
      const { dataset } = await client.datasets.getDataset({ name }, { signal: patience.signal });
      return dataset!;
    } catch (error) {
      await patience.after(error);
    }
  }
}

/** Makes one call that sends what the server lacks of a file. */
async function send(
  client: Client,
  path: string,
  dataset: Dataset,
  { onProgress, signal }: TransferOptions,
): Promise<void> {
  const file = await open(path);
  const total = Number(dataset.sizeBytes);
  // A file that cannot be read ends the call, and connect would tell of the call alone.
  let unreadable: unknown;
  async function* parts(): AsyncGenerator<MessageInitShape<typeof UploadDatasetRequestSchema>> {
    let offset = Number(dataset.upload?.receivedBytes ?? 0n);
    yield { part: { case: "header", value: { name: dataset.name, offset: BigInt(offset) } } };
    for (;;) {
      onProgress?.(offset, total);
      const chunk = await read(file, offset).catch((error: unknown) => {
        unreadable = error;
        throw error;
      });
      if (chunk.length === 0) {
        break;
      }
      offset += chunk.length;
      yield { part: { case: "chunk", value: chunk } };
    }
    if (offset !== total) {
      unreadable = new Error(`${path} has changed while it was uploaded`);
      throw unreadable;
    }
  }
  try {
    const answer = await client.datasets.uploadDataset(parts(), { signal });
    if (answer.dataset?.state === DatasetState.UPLOADING) {
      throw endedEarly("the upload");
    }
  } catch (error) {
    throw unreadable ?? error;
  } finally {
    await file.close();
  }
}

async function read(file: FileHandle, position: number): Promise<Uint8Array> {
  const { bytesRead, buffer } = await file.read({ buffer: new Uint8Array(CHUNK_BYTES), position });
  return buffer.subarray(0, bytesRead);
}

async function listArtifacts(
  client: Client,
  parent: string,
  { signal }: TransferOptions,
): Promise<Artifact[]> {
  const patience = new Patience(client.patienceMs, signal);
  const found: Artifact[] = [];
  let pageToken = "";
  for (;;) {
    try {
      const page = await client.artifacts.listArtifacts({ parent, pageToken }, { signal });
      found.push(...page.artifacts);
      pageToken = page.nextPageToken;
      if (pageToken === "") {
        return found;
      }
    } catch (error) {
      await patience.after(error);
    }
  }
}

/** Appends to the file `part` until it is as long as the artifact. */
async function fill(
  client: Client,
  artifact: Artifact,
  part: string,
  options: TransferOptions,
): Promise<void> {
  const patience = new Patience(client.patienceMs, options.signal);
  const total = Number(artifact.sizeBytes);
  const file = await open(part, "a");
  try {
    let done = (await file.stat()).size;
    while (done < total) {
      const call = new AbortController();
      try {
        const signal = AbortSignal.any(options.signal ? [call.signal, options.signal] : [call.signal]);
        const request = { name: artifact.name, offset: BigInt(done) };
        for await (const response of client.artifacts.downloadArtifact(request, { signal })) {
          if (response.part.case === "chunk") {
            await file.appendFile(response.part.value);
            done += response.part.value.length;
            patience.progressed();
            options.onProgress?.(done, total);
          }
        }
        if (done < total) {
          throw endedEarly("the download");
        }
      } catch (error) {
        await patience.after(error);
      } finally {
        call.abort();
      }
    }
  } finally {
    await file.close();
  }
}

async function isWhole(path: string, artifact: Artifact): Promise<boolean> {
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") {
      return undefined;
    }
    throw error;
  });
  if (!found || BigInt(found.size) !== artifact.sizeBytes) {
    return false;
  }
  return !artifact.sha256 || (await sha256Of(path)) === artifact.sha256;
}

async function sha256Of(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: CHUNK_BYTES })) {
    hash.update(chunk as Buffer);
  }
  return hash.digest("hex");
}
