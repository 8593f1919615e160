/** The job's log: what was said, warned, advised and changed; searched, filtered, followed. */

import { useEffect, useMemo, useRef, useState } from "react";
import { VList, type VListHandle } from "virtua";

import { useT } from "../i18n";
import { jobTitle } from "../job";
import { save } from "../ui/save";
import { lineOf, textOf } from "./lines";
import type { JobView } from "./store";

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
    return textOf(line).toLowerCase().includes(search.toLowerCase());
  });
  useEffect(() => {
    if (following) list.current?.scrollToIndex(lines.length - 1, { align: "end" });
  }, [lines.length, following]);
  const download = () => {
    const text = all.map((line) => `${line.time} ${line.level} ${textOf(line)}\n`);
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
              <span>{t.job.levels[line.level]}</span>
              <span>
                {line.own && <Marked text={line.own} search={search} />}
                {line.told && (
                  <span lang="en">
                    <Marked text={line.told} search={search} />
                  </span>
                )}
              </span>
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
  const at = search ? text.toLowerCase().indexOf(search.toLowerCase()) : -1;
  if (at < 0) return text;
  return (
    <>
      {text.slice(0, at)}
      <mark>{text.slice(at, at + search.length)}</mark>
      {text.slice(at + search.length)}
    </>
  );
}
