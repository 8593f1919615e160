/** How long a job has run at a moment: waiting and pauses do not count. */

import type { JobEventJson } from "../gen/tuneyard/v1/event_pb";
import { kindOf } from "../states";

/** From a moment in milliseconds to the seconds of running until then. */
export type Clock = (time: number) => number;

/** The clock of a job by its changes of state, oldest first. */
export function clockOf(events: readonly JobEventJson[]): Clock {
  const spans: { from: number; to: number; before: number }[] = [];
  for (const { stateChange, time } of events) {
    if (!stateChange || !time) continue;
    const at = Date.parse(time);
    const last = spans.at(-1);
    const runs = kindOf(stateChange.to) === "running";
    if (last && last.to === Infinity) {
      if (!runs) last.to = at;
    } else if (runs) spans.push({ from: at, to: Infinity, before: last ? last.before + last.to - last.from : 0 });
  }
  return (time) => {
    let span = spans[0];
    for (const each of spans) if (each.from <= time) span = each;
    if (!span) return 0;
    return (span.before + Math.min(Math.max(time - span.from, 0), span.to - span.from)) / 1000;
  };
}
