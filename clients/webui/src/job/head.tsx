/** Which job a page is about, its state, and what can be done with it. */

import { useEffect, useState } from "react";
import { Link } from "wouter";

import { idOf } from "../api/http";
import { percent } from "../format";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { useT } from "../i18n";
import { jobTitle, kindOfJob, sourceOf } from "../job";
import { isEnded, kindOf } from "../states";
import { Button, StateBadge } from "../ui/parts";
import { JobActions } from "./actions";
import { endsTold } from "./notices";

export function Head({ job }: { job: JobJson }) {
  const t = useT();
  const kind = kindOfJob(job);
  const training = job.spec?.training;
  const source = sourceOf(job);
  const stored = job.spec?.merge?.outputPath;
  return (
    <header>
      <div className="grow stack tight">
        <ol className="row small muted">
          <li>
            <Link href="/jobs">{t.nav.jobs}</Link>
          </li>
          <li aria-hidden="true">/</li>
          <li className="mono">{idOf(job.name).slice(0, 13)}</li>
        </ol>
        <div className="row">
          <h1 className="break">{jobTitle(t, job)}</h1>
          <StateBadge state={job.state} />
        </div>
        <ul className="row small muted dotted">
          {kind && <li>{t.kinds[kind]}</li>}
          {training?.baseModel && <li className="break">{training.baseModel}</li>}
          {training?.dataset && (
            <li>
              <Link href={`/datasets/${idOf(training.dataset)}`}>{idOf(training.dataset)}</Link>
            </li>
          )}
          {source && (
            <li>
              <Link href={`/jobs/${idOf(source)}`}>{t.job.source}</Link>
            </li>
          )}
          {stored?.startsWith("models/") && job.state === "JOB_STATE_SUCCEEDED" && (
            <li className="break">
              <Link href={`/models/${idOf(stored)}`}>{stored}</Link>
            </li>
          )}
        </ul>
      </div>
      <div className="row">
        {!isEnded(job.state) && <Notice job={job} />}
        <JobActions job={job} />
      </div>
    </header>
  );
}

/** Percent and title in the tab; a notification at the end, where it was asked for. */
export function useTitle(job: JobJson | undefined) {
  const t = useT();
  useEffect(() => {
    if (!job) return;
    const signs = { succeeded: "✓ ", failed: "✕ ", cancelled: "✕ ", paused: "❚❚ ", queued: "", running: "" };
    const kind = kindOf(job.state);
    const done = kind === "running" ? `${percent(Number(job.progress?.fraction ?? 0))} · ` : signs[kind];
    document.title = `${done}${jobTitle(t, job)} · ${t.brand}`;
    if (isEnded(job.state) && endsTold.delete(job.name ?? ""))
      new Notification(jobTitle(t, job), { body: t.states[job.state as keyof typeof t.states] });
  }, [job, t]);
}

function Notice({ job }: { job: JobJson }) {
  const t = useT();
  const [isOn, setOn] = useState(endsTold.has(job.name ?? ""));
  if (!("Notification" in window) || Notification.permission === "denied") return null;
  const ask = async () => {
    if ((await Notification.requestPermission()) !== "granted") return;
    endsTold.add(job.name ?? "");
    setOn(true);
  };
  if (isOn) return <span className="small muted">{t.job.noticeOn}</span>;
  return (
    <Button look="plain" onClick={() => void ask()}>
      {t.job.noticeAsk}
    </Button>
  );
}
