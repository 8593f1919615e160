// Follows a job's events across broken connections and proves that none is missing.

import type { Client } from "./client.js";
import { EventGap, endedEarly } from "./errors.js";
import { Patience } from "./patience.js";
import type { JobEvent } from "./gen/tuneyard/v1/event_pb.js";
import { JobState } from "./gen/tuneyard/v1/job_pb.js";

/** The states of jobs that will never change again. */
export const TERMINAL: ReadonlySet<JobState> = new Set([
  JobState.SUCCEEDED,
  JobState.FAILED,
  JobState.CANCELLED,
]);

export async function* watchJob(
  client: Client,
  name: string,
  after: bigint,
  signal?: AbortSignal,
): AsyncGenerator<JobEvent, void, undefined> {
  const patience = new Patience(client.patienceMs, signal);
  let sequence = after;
  for (;;) {
    // A loop that is left does not end connect's call.
    const call = new AbortController();
    try {
      const signals = AbortSignal.any(signal ? [call.signal, signal] : [call.signal]);
      for await (const { events } of client.training.watchJob(
        { name, afterSequence: sequence },
        { signal: signals },
      )) {
        patience.progressed();
        for (const event of events) {
          if (event.sequence !== sequence + 1n) {
            throw new EventGap(name, sequence, event.sequence);
          }
          sequence = event.sequence;
          yield event;
          if (event.body.case === "stateChange" && TERMINAL.has(event.body.value.to)) {
            return;
          }
        }
      }
      // An orderly end without a terminal event: a server that stops, or nothing was left to tell.
      const { job } = await client.training.getJob({ name }, { signal });
      if (job && TERMINAL.has(job.state) && job.lastSequence <= sequence) {
        return;
      }
      throw endedEarly("the stream");
    } catch (error) {
      await patience.after(error);
    } finally {
      call.abort();
    }
  }
}
