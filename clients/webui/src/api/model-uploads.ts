/**
 * Uploads of models: one PUT of a file, or of a ZIP made of a folder's files. The server keeps no part of a model, so one
 * that breaks off begins anew. They live outside of the pages, so that leaving a page does not end them.
 */

import { useSyncExternalStore } from "react";

import type { ModelJson, UploadModelResponseJson } from "../gen/tuneyard/v1/model_service_pb";
import type { FamilyJson } from "../gen/tuneyard/v1/training_pb";
import { ApiError, get, newId } from "./http";
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
  put: Put<UploadModelResponseJson>;
  find: (id: string) => Promise<ModelJson>;
  pack: typeof zipOf;
  sleep: (milliseconds: number) => Promise<void>;
  now: () => number;
}

const LONGEST_PAUSE = 10_000;
const ID = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$/;

export class ModelUploads {
  private list: readonly ModelUpload[] = [];
  private readonly stops = new Map<string, AbortController>();
  private readonly listeners = new Set<() => void>();
  private readonly services: Services;

  constructor(services: Services) {
    this.services = services;
  }

  readonly subscribe = (listener: () => void) => {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  };
  readonly snapshot = () => this.list;

  /** Begins; returns the upload's key. */
  start(wanted: WantedModel): string {
    const key = newId();
    const size = wanted.files.reduce((sum, { file }) => sum + file.size, 0);
    const made: ModelUpload = { key, name: wanted.name, size, state: "sending", done: 0, rate: 0, model: "" };
    this.put([...this.list, made]);
    void this.run(key, wanted);
    return key;
  }

  /** Takes an upload off the list, and gives it up where it has not arrived. */
  dismiss(key: string) {
    this.stops.get(key)?.abort();
    this.stops.delete(key);
    this.put(this.list.filter((each) => each.key !== key));
  }

  private async run(key: string, wanted: WantedModel): Promise<void> {
    const stop = new AbortController();
    this.stops.set(key, stop);
    try {
      const body = wanted.isFolder ? await this.packed(key, wanted.files, stop.signal) : wanted.files[0]!.file;
      const model = await this.sent(key, wanted, body, stop.signal);
      this.change(key, { state: "arrived", done: body.size, rate: 0, model: model.name ?? "" });
    } catch (error) {
      if (stop.signal.aborted) return;
      const told = error instanceof ApiError ? error : new ApiError({ title: "", status: 0, detail: String(error) });
      this.change(key, { state: "failed", error: told, rate: 0 });
    } finally {
      this.stops.delete(key);
    }
  }

  private packed(key: string, files: readonly Packed[], signal: AbortSignal): Promise<Blob> {
    const rate = new Rate(this.services.now(), 0);
    const onRead = (bytes: number) => this.change(key, { done: bytes, rate: rate.at(this.services.now(), bytes) });
    this.change(key, { state: "packing" });
    return this.services.pack(files, onRead, signal);
  }

  /** Sends until it is there; what was sent in vain is sent again. */
  private async sent(key: string, wanted: WantedModel, body: Blob, signal: AbortSignal): Promise<ModelJson> {
    const query = queryOf(wanted, key);
    let pause = 500;
    for (;;) {
      const rate = new Rate(this.services.now(), 0);
      this.change(key, { state: "sending", size: body.size, done: 0, error: undefined });
      let wasSent = false;
      try {
        const told = await this.services.put(`/v1/models:upload?${query}`, body, {
          headers: {},
          signal,
          onSent: (bytes) => {
            wasSent = bytes >= body.size;
            this.change(key, { done: bytes, rate: rate.at(this.services.now(), bytes) });
          },
        });
        return told.model ?? {};
      } catch (error) {
        if (!(error instanceof ApiError) || !error.passes) throw error;
        this.change(key, { state: "waiting", error, rate: 0 });
      }
      await this.services.sleep(pause);
      pause = Math.min(pause * 2, LONGEST_PAUSE);
      signal.throwIfAborted();
      // It may be that only the answer was lost.
      const made = wasSent ? await this.services.find(query.get("modelId") ?? "").catch(() => undefined) : undefined;
      if (made) return made;
    }
  }

  private change(key: string, change: Partial<ModelUpload>) {
    this.put(this.list.map((each) => (each.key === key ? { ...each, ...change } : each)));
  }

  private put(list: readonly ModelUpload[]) {
    this.list = list;
    for (const listener of this.listeners) listener();
  }
}

/** What the address says of the bytes. File names that the server would not take are written otherwise. */
export function queryOf({ name, isFolder, family, called, architecture }: WantedModel, key: string): URLSearchParams {
  const plain = (text: string) => text.replace(/[^A-Za-z0-9_. -]+/g, "-").replace(/^[^A-Za-z0-9_]+/, "");
  const kind = isFolder ? ".zip" : (/\.[A-Za-z0-9]+$/.exec(name)?.[0] ?? "");
  const stem = plain(isFolder ? name : name.slice(0, name.length - kind.length)).slice(0, 80).trim() || "model";
  const own = `${stem.replaceAll(" ", "-").replace(/^[^A-Za-z0-9]+/, "") || "model"}-${key.slice(0, 6)}`;
  const title = called || (plain(name) === name ? "" : name);
  return new URLSearchParams({
    family,
    fileName: `${stem}${kind}`,
    modelId: ID.test(called) ? called : own,
    ...(title && !ID.test(title) ? { displayName: title } : {}),
    ...(architecture ? { architecture } : {}),
  });
}

export const modelUploads = new ModelUploads({
  put: xhrPut,
  find: async (id) => (await get<{ model?: ModelJson }>(`/v1/models/${id}`)).model ?? {},
  pack: zipOf,
  sleep: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
  now: () => performance.now(),
});

/** Asks before a tab is closed that still sends. */
addEventListener("beforeunload", (event) => {
  if (modelUploads.snapshot().some(({ state }) => state !== "arrived" && state !== "failed")) event.preventDefault();
});

export const useModelUploads = (): readonly ModelUpload[] => useSyncExternalStore(modelUploads.subscribe, modelUploads.snapshot);
