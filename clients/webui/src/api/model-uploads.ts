/**
 * Uploads of models: one PUT of a file, or of a ZIP made of a folder's files, that begins where the server's stored bytes
 * end. A cut line costs at most one part, and so does a reload where the same file or folder is chosen again. They live
 * outside of the pages, so that leaving a page does not end them.
 */

import { useSyncExternalStore } from "react";

import type {
  CreateModelRequestJson,
  CreateModelResponseJson,
  GetModelResponseJson,
  ModelJson,
  UploadModelResponseJson,
} from "../gen/tuneyard/v1/model_service_pb";
import type { FamilyJson } from "../gen/tuneyard/v1/training_pb";
import { ApiError, get, idOf, newId, post, remove } from "./http";
import { xhrPut, type Put } from "./put";
import { Rate } from "./upload";
import { zipOf, type Packed } from "./zip";

export type ModelUploadState = "packing" | "sending" | "waiting" | "arrived" | "failed";

export interface ModelUpload {
  key: string;
  /** What was chosen. */
  name: string;
  size: number;
  state: ModelUploadState;
  /** Bytes read while packing, bytes sent while sending. */
  done: number;
  /** Bytes per second of late. */
  rate: number;
  /** "models/…", once it has arrived. */
  model: string;
  error?: ApiError;
}

export interface WantedModel {
  /** The file's name or the folder's. */
  name: string;
  files: readonly Packed[];
  isFolder: boolean;
  family: FamilyJson;
  /** The id where it can be one, else a name for people. */
  called: string;
  architecture: string;
}

export interface Services {
  create: (wanted: CreateModelRequestJson) => Promise<ModelJson>;
  find: (model: string) => Promise<ModelJson>;
  discard: (model: string) => Promise<unknown>;
  put: Put<UploadModelResponseJson>;
  pack: typeof zipOf;
  sleep: (milliseconds: number) => Promise<void>;
  now: () => number;
  memory: Pick<Storage, "getItem" | "setItem">;
}

const KEPT = "tuneyard.model-uploads";
const LONGEST_PAUSE = 10_000;
const ID = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/;

export class ModelUploads {
  private list: readonly ModelUpload[] = [];
  private readonly stops = new Map<string, AbortController>();
  /** By what was chosen, the keys of uploads that have not arrived: the same key is the same model to the server. */
  private readonly begun: Map<string, string>;
  private readonly listeners = new Set<() => void>();
  private readonly services: Services;

  constructor(services: Services) {
    this.services = services;
    this.begun = recall(services.memory);
  }

  readonly subscribe = (listener: () => void) => {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  };
  readonly snapshot = () => this.list;

  /** Begins, or goes on with what the same files had begun; returns the upload's key. */
  start(wanted: WantedModel): string {
    const mark = markOf(wanted);
    const kept = this.begun.get(mark);
    const before = this.list.find((each) => each.key === kept);
    if (kept && before && before.state !== "failed") return kept;
    const key = kept ?? newId();
    const size = wanted.files.reduce((sum, { file }) => sum + file.size, 0);
    const made: ModelUpload = { key, name: wanted.name, size, state: "sending", done: 0, rate: 0, model: "" };
    this.put([...this.list.filter((each) => each.key !== key), made]);
    this.remember(mark, key);
    void this.run(key, wanted);
    return key;
  }

  /** Takes an upload off the list. What has not arrived is given up, and deleted at the server. */
  async dismiss(key: string) {
    const upload = this.list.find((each) => each.key === key);
    this.stops.get(key)?.abort();
    this.stops.delete(key);
    this.forget(key);
    this.put(this.list.filter((each) => each.key !== key));
    if (upload?.model && upload.state !== "arrived") await this.services.discard(upload.model).catch(() => undefined);
  }

  private async run(key: string, wanted: WantedModel): Promise<void> {
    const stop = new AbortController();
    this.stops.set(key, stop);
    try {
      const body = wanted.isFolder ? await this.packed(key, wanted.files, stop.signal) : wanted.files[0]!.file;
      const model = await this.sent(key, wanted, body, stop.signal);
      this.forget(key);
      this.change(key, { state: "arrived", done: body.size, rate: 0, model: model.name ?? "" });
    } catch (error) {
      if (stop.signal.aborted) return;
      const told = error instanceof ApiError ? error : new ApiError({ title: "", status: 0, detail: String(error) });
      // There is nothing to go on with.
      if (!this.list.find((each) => each.key === key)?.model || told.problem.reason === "MODEL_NOT_FOUND") this.forget(key);
      this.change(key, { state: "failed", error: told, rate: 0 });
    } finally {
      this.stops.delete(key);
    }
  }

  private packed(key: string, files: readonly Packed[], signal: AbortSignal): Promise<Blob> {
    const rate = new Rate(this.services.now(), 0);
    const onRead = (bytes: number) => this.change(key, { done: bytes, rate: rate.at(this.services.now(), bytes) });
    this.change(key, { state: "packing" });
    // In one order, so that the same folder gives the same bytes.
    const sorted = [...files].sort((one, other) => (one.path < other.path ? -1 : 1));
    return this.services.pack(sorted, onRead, signal);
  }

  /** Sends until it is there, each time from where the server stands. */
  private async sent(key: string, wanted: WantedModel, body: Blob, signal: AbortSignal): Promise<ModelJson> {
    let [model, pause] = [undefined as ModelJson | undefined, 500];
    for (;;) {
      try {
        model = model?.name ? await this.services.find(model.name) : await this.services.create(requestOf(wanted, key, body.size));
        signal.throwIfAborted();
        this.change(key, { model: model.name ?? "" });
        const from = Number(model.upload?.receivedBytes ?? 0);
        if (model.state === "MODEL_STATE_UPLOADING") model = await this.sentFrom(key, model, from, body, signal);
        if (model.state !== "MODEL_STATE_UPLOADING") return model;
        pause = Number(model.upload?.receivedBytes ?? 0) > from ? 500 : pause;
      } catch (error) {
        const again = error instanceof ApiError && (error.passes || error.problem.reason === "UPLOAD_OFFSET_MISMATCH");
        if (!again) throw error;
        this.change(key, { state: "waiting", error, rate: 0 });
      }
      await this.services.sleep(pause);
      pause = Math.min(pause * 2, LONGEST_PAUSE);
      signal.throwIfAborted();
    }
  }

  private async sentFrom(key: string, model: ModelJson, from: number, body: Blob, signal: AbortSignal): Promise<ModelJson> {
    const rate = new Rate(this.services.now(), from);
    this.change(key, { state: "sending", size: body.size, done: from, error: undefined });
    const told = await this.services.put(`/v1/${model.name}:upload`, body.slice(from), {
      headers: { "Content-Range": `bytes ${from}-${body.size - 1}/${body.size}` },
      signal,
      onSent: (bytes) => this.change(key, { done: from + bytes, rate: rate.at(this.services.now(), from + bytes) }),
    });
    return told.model ?? {};
  }

  private remember(mark: string, key: string) {
    this.begun.set(mark, key);
    this.services.memory.setItem(KEPT, JSON.stringify([...this.begun]));
  }

  private forget(key: string) {
    for (const [mark, kept] of this.begun) if (kept === key) this.begun.delete(mark);
    this.services.memory.setItem(KEPT, JSON.stringify([...this.begun]));
  }

  private change(key: string, change: Partial<ModelUpload>) {
    this.put(this.list.map((each) => (each.key === key ? { ...each, ...change } : each)));
  }

  private put(list: readonly ModelUpload[]) {
    this.list = list;
    for (const listener of this.listeners) listener();
  }
}

/** What tells that the same is chosen again: nobody reads gigabytes twice to find out. */
function markOf({ name, files, family, called, architecture }: WantedModel): string {
  const told = files.map(({ path, file }) => [path, file.size, file instanceof File ? file.lastModified : 0]);
  return JSON.stringify([name, family, called, architecture, told.sort()]);
}

function recall(memory: Pick<Storage, "getItem">): Map<string, string> {
  try {
    const kept = JSON.parse(memory.getItem(KEPT) ?? "[]") as unknown;
    return new Map(Array.isArray(kept) ? (kept as [string, string][]) : []);
  } catch {
    return new Map();
  }
}

/** What the server is told of the bytes to come. File names that it would not take are written otherwise. */
export function requestOf({ name, isFolder, family, called, architecture }: WantedModel, key: string, size: number): CreateModelRequestJson {
  const plain = (text: string) => text.replace(/[^A-Za-z0-9_. -]+/g, "-").replace(/^[^A-Za-z0-9_]+/, "");
  const kind = isFolder ? ".zip" : (/\.[A-Za-z0-9]+$/.exec(name)?.[0] ?? "");
  const stem = plain(isFolder ? name : name.slice(0, name.length - kind.length)).slice(0, 80).trim() || "model";
  const own = `${stem.replaceAll(" ", "-").replace(/^[^A-Za-z0-9]+/, "") || "model"}-${key.slice(0, 6)}`;
  const title = called || (plain(name) === name ? "" : name);
  return {
    family,
    fileName: `${stem}${kind}`,
    modelId: ID.test(called) ? called : own,
    ...(title && !ID.test(title) ? { displayName: title } : {}),
    ...(architecture ? { architecture } : {}),
    sizeBytes: String(size),
    requestId: key,
  };
}

export const modelUploads = new ModelUploads({
  create: async (wanted) => (await post<CreateModelResponseJson>("/v1/models", wanted)).model ?? {},
  find: async (model) => (await get<GetModelResponseJson>(`/v1/models/${idOf(model)}`)).model ?? {},
  discard: (model) => remove(`/v1/models/${idOf(model)}`),
  put: xhrPut,
  pack: zipOf,
  sleep: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
  now: () => performance.now(),
  memory: localStorage,
});

/** Asks before a tab is closed that still sends. */
addEventListener("beforeunload", (event) => {
  if (modelUploads.snapshot().some(({ state }) => state !== "arrived" && state !== "failed")) event.preventDefault();
});

export const useModelUploads = (): readonly ModelUpload[] => useSyncExternalStore(modelUploads.subscribe, modelUploads.snapshot);
