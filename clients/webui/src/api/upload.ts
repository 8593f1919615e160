/**
 * Uploads of datasets: one raw PUT that begins where the server's stored bytes end, so that a pause, a cut line and a
 * reload of the page cost at most one part. They live outside of the pages, so that leaving a page does not end them.
 */

import { useSyncExternalStore } from "react";

import type { CreateDatasetResponseJson, GetDatasetResponseJson } from "../gen/tuneyard/v1/dataset_service_pb";
import type { DatasetFormatJson, DatasetJson } from "../gen/tuneyard/v1/dataset_pb";
import { ApiError, get, idOf, post, remove, newId } from "./http";
import { xhrPut, type Put } from "./put";
import { uploadedBefore } from "./uploaded-before";

export type UploadState = "sending" | "waiting" | "paused" | "lost" | "arrived" | "failed";

export interface Upload {
  key: string;
  fileName: string;
  size: number;
  format: DatasetFormatJson;
  /** "datasets/…", once it has been created. */
  dataset: string;
  state: UploadState;
  /** Bytes that have left the browser; those stored for good may be a part less. */
  sent: number;
  /** Bytes per second of late. */
  rate: number;
  /** The same file was here before: nothing was sent, and the dataset is the one that there was. */
  wasHere?: boolean;
  error?: ApiError;
}

/** What a browser remembers of an upload: enough to go on with the same file after a reload. */
interface Remembered {
  key: string;
  fileName: string;
  size: number;
  format: DatasetFormatJson;
  dataset: string;
}

export interface Services {
  create: (file: File, format: DatasetFormatJson, key: string) => Promise<DatasetJson>;
  find: (dataset: string) => Promise<DatasetJson>;
  discard: (dataset: string) => Promise<unknown>;
  put: Put;
  sleep: (milliseconds: number) => Promise<void>;
  now: () => number;
  memory: Pick<Storage, "getItem" | "setItem">;
}

const KEPT = "tuneyard.uploads";
const LONGEST_PAUSE = 10_000;

export class Uploads {
  private list: readonly Upload[];
  private readonly files = new Map<string, File>();
  private readonly stops = new Map<string, AbortController>();
  private readonly listeners = new Set<() => void>();
  private readonly services: Services;

  constructor(services: Services) {
    this.services = services;
    this.list = recall(services.memory).map((each) => ({ ...each, state: "lost", sent: 0, rate: 0 }));
  }

  readonly subscribe = (listener: () => void) => {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  };
  readonly snapshot = () => this.list;

  /** Begins, or goes on with what a file of this name and size had begun; returns the upload's key. */
  start(file: File, format: DatasetFormatJson): string {
    const begun = this.list.find(
      (each) => each.fileName === file.name && each.size === file.size && each.format === format && each.state !== "arrived",
    );
    const key = begun?.key ?? newId();
    this.files.set(key, file);
    if (!begun) {
      const made: Upload = { key, fileName: file.name, size: file.size, format, dataset: "", state: "sending", sent: 0, rate: 0 };
      this.put([...this.list, made]);
    }
    if (!this.stops.has(key)) void this.run(key, file);
    return key;
  }

  pause(key: string) {
    this.stops.get(key)?.abort();
    this.stops.delete(key);
    this.change(key, { state: "paused", rate: 0 });
  }

  /** Goes on; after a reload the file must be given again, by `start`. */
  resume(key: string) {
    const file = this.files.get(key);
    if (file && !this.stops.has(key)) void this.run(key, file);
  }

  /** Takes an upload off the list. What did not arrive is deleted at the server. */
  async dismiss(key: string) {
    const upload = this.list.find((each) => each.key === key);
    this.stops.get(key)?.abort();
    this.stops.delete(key);
    this.files.delete(key);
    this.put(this.list.filter((each) => each.key !== key));
    if (upload?.dataset && upload.state !== "arrived") await this.services.discard(upload.dataset).catch(() => undefined);
  }

  private async run(key: string, file: File): Promise<void> {
    const stop = new AbortController();
    this.stops.set(key, stop);
    this.change(key, { state: "sending", error: undefined });
    let pause = 500;
    while (!stop.signal.aborted) {
      try {
        const before = this.of(key)?.sent ?? 0;
        const arrived = await this.once(key, file, stop.signal);
        if (arrived) return this.end(key, { state: "arrived", sent: file.size, rate: 0 });
        if ((this.of(key)?.sent ?? 0) > before) pause = 500;
      } catch (error) {
        if (stop.signal.aborted) return;
        const told = error instanceof ApiError ? error : new ApiError({ title: "", status: 0, detail: String(error) });
        const again = told.passes || told.problem.reason === "UPLOAD_OFFSET_MISMATCH";
        if (!again) return this.end(key, { state: "failed", error: told, rate: 0 });
        this.change(key, { state: "waiting", error: told, rate: 0 });
      }
      await this.services.sleep(pause);
      pause = Math.min(pause * 2, LONGEST_PAUSE);
    }
  }

  /** One attempt from where the server stands; whether everything is there. */
  private async once(key: string, file: File, signal: AbortSignal): Promise<boolean> {
    const upload = this.of(key);
    if (!upload) return true;
    const dataset = upload.dataset
      ? await this.services.find(upload.dataset)
      : await this.services.create(file, upload.format, key);
    if (signal.aborted) return false;
    const isWhole = dataset.state !== "DATASET_STATE_UPLOADING";
    this.change(key, { dataset: dataset.name ?? "", ...(isWhole && !upload.dataset ? { wasHere: true } : {}) });
    if (isWhole) return true;
    const from = Number(dataset.upload?.receivedBytes ?? 0);
    this.change(key, { state: "sending", sent: from, error: undefined });
    const rate = new Rate(this.services.now(), from);
    const told = await this.services.put(`/v1/${dataset.name}:upload`, file.slice(from), {
      headers: { "Content-Range": `bytes ${from}-${file.size - 1}/${file.size}` },
      signal,
      onSent: (bytes) => this.change(key, { sent: from + bytes, rate: rate.at(this.services.now(), from + bytes) }),
    });
    return told.dataset?.state !== "DATASET_STATE_UPLOADING";
  }

  private of(key: string) {
    return this.list.find((each) => each.key === key);
  }

  private end(key: string, change: Partial<Upload>) {
    this.stops.delete(key);
    if (change.state === "arrived") this.files.delete(key);
    this.change(key, change);
  }

  private change(key: string, change: Partial<Upload>) {
    this.put(this.list.map((each) => (each.key === key ? { ...each, ...change } : each)));
  }

  private put(list: readonly Upload[]) {
    this.list = list;
    const kept: Remembered[] = list
      .filter((each) => each.dataset && each.state !== "arrived" && each.state !== "failed")
      .map(({ key, fileName, size, format, dataset }) => ({ key, fileName, size, format, dataset }));
    this.services.memory.setItem(KEPT, JSON.stringify(kept));
    for (const listener of this.listeners) listener();
  }
}

/** Bytes per second over the last seconds, so that a stall shows and a burst does not mislead. */
export class Rate {
  private points: [time: number, bytes: number][];

  constructor(time: number, bytes: number) {
    this.points = [[time, bytes]];
  }

  at(time: number, bytes: number): number {
    this.points.push([time, bytes]);
    while (this.points.length > 2 && time - this.points[0]![0] > 5_000) this.points.shift();
    const [since, first] = this.points[0]!;
    return time > since ? ((bytes - first) * 1000) / (time - since) : 0;
  }
}

function recall(memory: Pick<Storage, "getItem">): Remembered[] {
  try {
    const kept = JSON.parse(memory.getItem(KEPT) ?? "[]") as unknown;
    return Array.isArray(kept) ? (kept as Remembered[]) : [];
  } catch {
    return [];
  }
}

export const ENDINGS = /(\.(zip|jsonl|ndjson|json|gz))+$/i;

/** An id of a dataset after the file's name: "My pictures.zip" is "My-pictures". */
export const idFor = (fileName: string) =>
  fileName
    .replace(ENDINGS, "")
    .replace(/[^A-Za-z0-9_.-]+/g, "-")
    .replace(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, "")
    .slice(0, 80);

async function create(file: File, format: DatasetFormatJson, key: string): Promise<DatasetJson> {
  const before = await uploadedBefore(file, format);
  if (before) return before;
  const wanted = idFor(file.name);
  const ask = async (datasetId: string) => {
    const body = { datasetId, displayName: file.name, format, sizeBytes: String(file.size), requestId: `${key}/${datasetId}` };
    return (await post<CreateDatasetResponseJson>("/v1/datasets", body)).dataset ?? {};
  };
  try {
    return await ask(wanted);
  } catch (error) {
    const taken = error instanceof ApiError && error.problem.reason === "ALREADY_EXISTS";
    if (!taken) throw error;
    return ask(`${wanted}-${key.slice(0, 6)}`);
  }
}

export const uploads = new Uploads({
  create,
  find: async (dataset) => (await get<GetDatasetResponseJson>(`/v1/datasets/${idOf(dataset)}`)).dataset ?? {},
  discard: (dataset) => remove(`/v1/datasets/${idOf(dataset)}`),
  put: xhrPut,
  sleep: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
  now: () => performance.now(),
  memory: localStorage,
});

/** Asks before a tab is closed that still sends. */
addEventListener("beforeunload", (event) => {
  if (uploads.snapshot().some((each) => each.state === "sending" || each.state === "waiting")) event.preventDefault();
});

export const useUploads = (): readonly Upload[] => useSyncExternalStore(uploads.subscribe, uploads.snapshot);
