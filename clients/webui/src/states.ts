/** The states of jobs, as people see them. */

import type { JobStateJson } from "./gen/tuneyard/v1/job_pb";

export type StateKind = "queued" | "running" | "paused" | "succeeded" | "failed" | "cancelled";

const KINDS: Partial<Record<JobStateJson, StateKind>> = {
  JOB_STATE_QUEUED: "queued",
  JOB_STATE_STARTING: "running",
  JOB_STATE_RUNNING: "running",
  JOB_STATE_FINALIZING: "running",
  JOB_STATE_PAUSING: "running",
  JOB_STATE_PAUSED: "paused",
  JOB_STATE_CANCELLING: "running",
  JOB_STATE_SUCCEEDED: "succeeded",
  JOB_STATE_FAILED: "failed",
  JOB_STATE_CANCELLED: "cancelled",
};

export const kindOf = (state: JobStateJson | undefined): StateKind => KINDS[state ?? "JOB_STATE_QUEUED"] ?? "running";

export const isEnded = (state: JobStateJson | undefined) =>
  state === "JOB_STATE_SUCCEEDED" || state === "JOB_STATE_FAILED" || state === "JOB_STATE_CANCELLED";
