/** What a queued job waits for: its place, what runs before it, and when it may start. */

import { seconds } from "../format";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { kindOf } from "../states";

export interface Place {
  /** From 1. */
  position: number;
  /** Jobs of the same trainers that run now. */
  running: JobJson[];
  /** Seconds until it may start; undefined where a job before it tells no time. */
  starts: number | undefined;
}

/** The place of a queued job among all jobs, as if one ran after the other. */
export function placeOf(job: JobJson, jobs: Iterable<JobJson>): Place {
  const position = job.queuePosition ?? 0;
  const others = [...jobs].filter((other) => other.family === job.family && other.name !== job.name);
  const running = others.filter((other) => kindOf(other.state) === "running");
  const before = others.filter((other) => kindOf(other.state) === "queued" && (other.queuePosition ?? 0) < position);
  const times = [...running.map((other) => seconds(other.progress?.remaining)), ...before.map((other) => seconds(other.estimate?.duration))];
  const isKnown = running.length > 0 && times.every((time) => time !== undefined);
  return { position, running, starts: isKnown ? times.reduce((sum, time) => sum! + time!, 0) : undefined };
}
