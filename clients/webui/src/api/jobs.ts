/** The list of jobs as one live stream, shared by every page that shows jobs. */

import { useSyncExternalStore } from "react";

import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import type { WatchJobsResponseJson } from "../gen/tuneyard/v1/training_service_pb";
import { follow } from "./stream";

export interface JobsState {
  jobs: ReadonlyMap<string, JobJson>;
  /** Whether the first answer is there. */
  loaded: boolean;
  connected: boolean;
}

let state: JobsState = { jobs: new Map(), loaded: false, connected: false };
const listeners = new Set<() => void>();
let stop: (() => void) | undefined;

function set(next: Partial<JobsState>) {
  state = { ...state, ...next };
  for (const listener of listeners) listener();
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  stop ??= follow({
    url: () => "/v1/jobs:watch",
    onEvents: (events) => {
      const jobs = new Map(state.jobs);
      for (const event of events)
        for (const job of (JSON.parse(event.data) as WatchJobsResponseJson).jobs ?? []) jobs.set(job.name ?? "", job);
      set({ jobs, loaded: true });
    },
    // A new stream tells all jobs anew; what was deleted meanwhile is no longer among them.
    onConnected: (connected) => set(connected ? { connected, jobs: new Map(), loaded: true } : { connected }),
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
