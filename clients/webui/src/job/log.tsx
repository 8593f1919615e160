/** The job's log: what was said, warned, advised and changed; searched, filtered, followed. */

import { useEffect, useRef, useState } from "react";
import { VList, type VListHandle } from "virtua";

import type { JobEventJson } from "../gen/tuneyard/v1/event_pb";
import { useT } from "../i18n";
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
  const lines = view.lines.map(lineOf).filter((line) => {
    if (serious && line.level !== "warning" && line.level !== "error") return false;
    return line.text.toLowerCase().includes(search.toLowerCase());
  });
  useEffect(() => {
    if (following) list.current?.scrollToIndex(lines.length - 1, { align: "end" });
  }, [lines.length, following]);
  const download = () => {
    const blob = new Blob([lines.map((line) => `${line.time} ${line.level} ${line.text}\n`).join("")], { type: "text/plain" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = "job.log";
    link.click();
    URL.revokeObjectURL(link.href);
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
        <div className="log">
        <VList
          ref={list}
          onScroll={(offset) => {
            const handle = list.current;
            if (handle) setFollowing(offset >= handle.scrollSize - handle.viewportSize - 40);
          }}
        >
          {lines.map((line) => (
            <div key={line.key} className={`line ${line.level}`}>
              <time className="muted">{line.time}</time>
              <span>{line.level}</span>
              <span>{line.text}</span>
            </div>
          ))}
        </VList>
        </div>
      )}
    </div>
  );
}

function lineOf(event: JobEventJson): Line {
  const time = event.time ? new Date(event.time).toLocaleTimeString(document.documentElement.lang, { hour12: false }) : "";
  const key = event.sequence ?? "";
  if (event.log) {
    const level = (event.log.level ?? "LOG_LEVEL_INFO").replace("LOG_LEVEL_", "").toLowerCase();
    return { key, time, level: level as Line["level"], text: event.log.message ?? "" };
  }
  if (event.warning) return { key, time, level: "warning", text: event.warning.message ?? "" };
  if (event.advice) return { key, time, level: "warning", text: `${event.advice.observation} → ${event.advice.remedies?.join(" ")}` };
  if (event.oomRecovered)
    return { key, time, level: "warning", text: `batch ${event.oomRecovered.oldBatchSize} → ${event.oomRecovered.newBatchSize}` };
  if (event.rolledBack) return { key, time, level: "warning", text: `${event.rolledBack.fromStep} → ${event.rolledBack.toStep}` };
  const change = event.stateChange;
  const state = (change?.to ?? "").replace("JOB_STATE_", "");
  return { key, time, level: change?.error ? "error" : "info", text: `${state} ${change?.reason ?? ""} ${change?.error?.message ?? ""}`.trim() };
}
