/** The lines of a job's log: what each event says, in the reader's words as far as they go, then in the server's. */

import type { JobEventJson, StateChangeEventJson } from "../gen/tuneyard/v1/event_pb";
import type { Messages } from "../i18n/en";

export type Level = "debug" | "info" | "warning" | "error";

/** Parts of one text, in this order: `own` is in the reader's language, `told` is the server's, in English; either may be empty. */
export interface Said {
  own: string;
  told: string;
}

export interface Line extends Said {
  key: string;
  time: string;
  level: Level;
}

export const textOf = ({ own, told }: Said) => own + told;

export function lineOf(t: Messages, event: JobEventJson): Line {
  const time = event.time ? new Date(event.time).toLocaleTimeString(document.documentElement.lang, { hour12: false }) : "";
  return { key: event.sequence ?? "", time, level: levelOf(event), ...saidOf(t, event) };
}

function levelOf({ log, stateChange }: JobEventJson): Level {
  if (log) return (log.level ?? "LOG_LEVEL_INFO").replace("LOG_LEVEL_", "").toLowerCase() as Level;
  if (!stateChange) return "warning";
  return stateChange.error ? "error" : "info";
}

function saidOf(t: Messages, { log, warning, advice, oomRecovered, rolledBack, stateChange }: JobEventJson): Said {
  if (log) return inOwn(t.job.trainerSaid(log.message ?? ""), log.message);
  if (warning) return { own: "", told: warning.message ?? "" };
  if (advice) {
    const kind = (advice.kind ?? "").replace("ADVICE_KIND_", "");
    const meaning = t.adviceMeanings[kind];
    return { own: meaning ? `${meaning} ` : "", told: `${advice.observation} → ${advice.remedies?.join(" ")}` };
  }
  if (oomRecovered) return { own: t.job.smallerBatch(oomRecovered.oldBatchSize ?? 0, oomRecovered.newBatchSize ?? 0), told: "" };
  if (rolledBack) return { own: `${t.job.wentBack(rolledBack.fromStep ?? "0", rolledBack.toStep ?? "0")} `, told: rolledBack.reason ?? "" };
  return changeOf(t, stateChange ?? {});
}

const inOwn = (own: string | undefined, told = ""): Said => (own ? { own, told: "" } : { own: "", told });

/** "Running on cpu", "Queued: accepted": the state, then why, unless that says the state again. */
function changeOf(t: Messages, change: StateChangeEventJson): Said {
  const state = t.states[(change.to as keyof typeof t.states) ?? "JOB_STATE_UNSPECIFIED"];
  const why = change.error?.message ?? change.reason ?? "";
  if (!why) return { own: state, told: "" };
  if (why.toLowerCase().startsWith(`${state} `.toLowerCase())) return { own: "", told: why.charAt(0).toUpperCase() + why.slice(1) };
  const own = t.job.whyChanged(why) ?? t.job.trainerSaid(why);
  return own ? { own: `${state}${t.training.colon}${own}`, told: "" } : { own: `${state}${t.training.colon}`, told: why };
}
