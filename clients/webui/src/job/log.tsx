/** The job's log: what was said, warned, advised and changed; searched, filtered, followed. */

import { useEffect, useMemo, useRef, useState } from "react";
import { VList, type VListHandle } from "virtua";

import type { JobEventJson } from "../gen/tuneyard/v1/event_pb";
import { useT } from "../i18n";
import type { Messages } from "../i18n/en";
import { jobTitle } from "../job";
import { save } from "../ui/save";
import type { JobView } from "./store";

interface Line {
  key: string;
  time: string;
  level: "debug" | "info" | "warning" | "error";
  text: string;
}

export function Log({ view }: { view: JobView }) {
  const t = useT();
  const [search, setSearch] = useState("");
  const [serious, setSerious] = useState(false);
  const [following, setFollowing] = useState(true);
  const list = useRef<VListHandle>(null);
  const [wraps, setWraps] = useState(true);
  const all = useMemo(() => view.lines.map((event) => lineOf(t, event)), [view.lines, t]);
  const lines = all.filter((line) => {
    if (serious && line.level !== "warning" && line.level !== "error") return false;
    return line.text.toLowerCase().includes(search.toLowerCase());
  });
  useEffect(() => {
    if (following) list.current?.scrollToIndex(lines.length - 1, { align: "end" });
  }, [lines.length, following]);
  const download = () => {
    const text = all.map((line) => `${line.time} ${line.level} ${line.text}\n`);
    save(`${view.job ? jobTitle(t, view.job) : "job"}.log`, new Blob(text, { type: "text/plain" }));
  };
  return (
    <div className="stack">
      <div className="row">
        <input
          className="input narrow"
          type="search"
          aria-label={t.job.searchLog}
          placeholder={t.job.searchLog}
          value={search}
          onChange={(event) => setSearch(event.target.value)}
        />
        {search && <span className="small muted">{t.job.found(lines.length)}</span>}
        <label className="row">
          <input type="checkbox" checked={serious} onChange={(event) => setSerious(event.target.checked)} />
          {t.job.onlySerious}
        </label>
        <label className="row">
          <input type="checkbox" checked={wraps} onChange={(event) => setWraps(event.target.checked)} />
          {t.job.wrap}
        </label>
        <button type="button" className="button" onClick={download}>
          {t.actions.download}
        </button>
        {!following && (
          <button type="button" className="button" onClick={() => setFollowing(true)}>
            {t.job.toLatest}
          </button>
        )}
      </div>
      {lines.length === 0 ? (
        <p className="muted">{t.job.noLines}</p>
      ) : (
        <div className={`log${wraps ? "" : " unwrapped"}`}>
        <VList
          ref={list}
          tabIndex={0}
          aria-label={t.job.tabs.log}
          onScroll={(offset) => {
            const handle = list.current;
            if (handle) setFollowing(offset >= handle.scrollSize - handle.viewportSize - 40);
          }}
        >
          {lines.map((line) => (
            <div key={line.key} className={`line ${line.level}`}>
              <time className="muted">{line.time}</time>
              <span>{line.level}</span>
              <span>{search ? <Marked text={line.text} search={search} /> : line.text}</span>
            </div>
          ))}
        </VList>
        </div>
      )}
    </div>
  );
}

/** A text with what was searched for marked. */
function Marked({ text, search }: { text: string; search: string }) {
  const at = text.toLowerCase().indexOf(search.toLowerCase());
  if (at < 0) return text;
  return (
    <>
      {text.slice(0, at)}
      <mark>{text.slice(at, at + search.length)}</mark>
      {text.slice(at + search.length)}
    </>
  );
}

function lineOf(t: Messages, event: JobEventJson): Line {
  const time = event.time ? new Date(event.time).toLocaleTimeString(document.documentElement.lang, { hour12: false }) : "";
  const key = event.sequence ?? "";
  if (event.log) {
    const level = (event.log.level ?? "LOG_LEVEL_INFO").replace("LOG_LEVEL_", "").toLowerCase();
    return { key, time, level: level as Line["level"], text: event.log.message ?? "" };
  }
  if (event.warning) return { key, time, level: "warning", text: event.warning.message ?? "" };
  if (event.advice) return { key, time, level: "warning", text: `${event.advice.observation} → ${event.advice.remedies?.join(" ")}` };
  if (event.oomRecovered)
    return { key, time, level: "warning", text: t.job.smallerBatch(event.oomRecovered.oldBatchSize ?? 0, event.oomRecovered.newBatchSize ?? 0) };
  if (event.rolledBack) return { key, time, level: "warning", text: t.job.wentBack(event.rolledBack.fromStep ?? "0", event.rolledBack.toStep ?? "0", event.rolledBack.reason ?? "") };
  const change = event.stateChange;
  const state = t.states[(change?.to as keyof typeof t.states) ?? "JOB_STATE_UNSPECIFIED"];
  return { key, time, level: change?.error ? "error" : "info", text: `${state} ${change?.reason ?? ""} ${change?.error?.message ?? ""}`.trim() };
}
