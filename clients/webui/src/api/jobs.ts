/** The list of jobs as one live stream, shared by every page that shows jobs. */

import { useSyncExternalStore } from "react";

import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import type { WatchJobsResponseJson } from "../gen/tuneyard/v1/training_service_pb";
import { follow } from "./stream";

export interface JobsState {
  jobs: ReadonlyMap<string, JobJson>;
  /** Whether all jobs were told once. */
  loaded: boolean;
  /** False while the server is away. */
  connected: boolean;
}

let state: JobsState = { jobs: new Map(), loaded: false, connected: true };
/** What a new stream has told so far of the jobs as they are; undefined once that is complete. */
let arriving: Map<string, JobJson> | undefined;
const listeners = new Set<() => void>();
let stop: (() => void) | undefined;

function set(next: Partial<JobsState>) {
  state = { ...state, ...next };
  for (const listener of listeners) listener();
}

function take(told: WatchJobsResponseJson) {
  const jobs = arriving ?? new Map(state.jobs);
  for (const job of told.jobs ?? []) jobs.set(job.name ?? "", job);
  for (const name of told.deleted ?? []) jobs.delete(name);
  if (arriving && !told.snapshotComplete) return;
  arriving = undefined;
  set({ jobs, loaded: true });
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  stop ??= follow({
    url: () => "/v1/jobs:watch",
    onEvents: (events) => {
      for (const event of events) take(JSON.parse(event.data) as WatchJobsResponseJson);
    },
    // A new stream tells all jobs anew: what was known stays until it has.
    onConnected: (connected) => {
      if (connected) arriving = new Map();
      set({ connected });
    },
  });
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      stop?.();
      stop = undefined;
    }
  };
}

export const useJobs = (): JobsState => useSyncExternalStore(subscribe, () => state);

/** Takes a deleted job out at once. */
export function forgetJob(name: string) {
  const jobs = new Map(state.jobs);
  jobs.delete(name);
  set({ jobs });
}
