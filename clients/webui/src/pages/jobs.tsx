/** All jobs: what runs, what waits, what ended; live. */

import { useState } from "react";
import { Link, useSearchParams } from "wouter";

import { ApiError, idOf, post, remove } from "../api/http";
import { forgetJob, useJobs } from "../api/jobs";
import { duration, number, percent, seconds } from "../format";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { useT } from "../i18n";
import { jobTitle, kindOfJob } from "../job";
import { isEnded, kindOf } from "../states";
import { Button, Confirm, Failure, Loading, Page, Progress, StateBadge } from "../ui/parts";

export default function JobsPage() {
  const t = useT();
  const { jobs, loaded } = useJobs();
  const [search, setSearch] = useSearchParams();
  const filter = search.get("filter") ?? "";
  const all = [...jobs.values()].sort((a, b) => (b.name ?? "").localeCompare(a.name ?? ""));
  const shown = all.filter((job) => describe(job).includes(filter.toLowerCase()));
  const groups = [
    { title: t.jobs.running, jobs: shown.filter((job) => !isEnded(job.state) && kindOf(job.state) !== "queued") },
    {
      title: t.jobs.queued,
      jobs: shown
        .filter((job) => kindOf(job.state) === "queued")
        .sort((a, b) => (a.queuePosition ?? 0) - (b.queuePosition ?? 0)),
    },
    { title: t.jobs.ended, jobs: shown.filter((job) => isEnded(job.state)) },
  ];
  return (
    <Page title={t.jobs.title}>
      {!loaded && <Loading lines={6} />}
      {loaded && all.length === 0 && (
        <div className="stack">
          <p>{t.jobs.empty}</p>
          <p className="row">
            <Link href="/train" className="button primary">
              {t.jobs.emptyActions.train}
            </Link>
            <Link href="/finetune" className="button">
              {t.jobs.emptyActions.finetune}
            </Link>
          </p>
        </div>
      )}
      {all.length > 0 && (
        <div className="stack">
          <input
            className="input"
            type="search"
            aria-label={t.jobs.filter}
            placeholder={t.jobs.filter}
            value={filter}
            onChange={(event) => setSearch(event.target.value ? { filter: event.target.value } : {}, { replace: true })}
          />
          {shown.length === 0 && <p>{t.jobs.none}</p>}
          {groups.map(
            (group) =>
              group.jobs.length > 0 && (
                <section key={group.title} className="stack">
                  <h2>
                    {group.title} <span className="muted">{group.jobs.length}</span>
                  </h2>
                  <JobTable jobs={group.jobs} />
                </section>
              ),
          )}
        </div>
      )}
    </Page>
  );
}

const describe = (job: JobJson) =>
  [jobTitle(job), job.name, job.spec?.training?.baseModel, job.spec?.training?.dataset].join(" ").toLowerCase();

function JobTable({ jobs }: { jobs: JobJson[] }) {
  const t = useT();
  return (
    <div className="panel">
      <table className="folds">
        <thead>
          <tr>
            <th>{t.jobs.columns.job}</th>
            <th>{t.jobs.columns.progress}</th>
            <th className="number">{t.jobs.columns.metric}</th>
            <th>
              <span className="visually-hidden">{t.jobs.columns.actions}</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {jobs.map((job) => (
            <JobRow key={job.name} job={job} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function JobRow({ job }: { job: JobJson }) {
  const t = useT();
  const kind = kindOfJob(job);
  const best = bestMetric(job);
  return (
    <tr>
      <td>
        <div className="row">
          <StateBadge state={job.state} />
          <Link href={`/jobs/${idOf(job.name)}`} className="break">
            {jobTitle(job)}
          </Link>
        </div>
        <div className="small muted break">
          {kind && t.kinds[kind]} {job.spec?.training?.baseModel} {idOf(job.spec?.training?.dataset)}
        </div>
      </td>
      <td>
        <ProgressOf job={job} />
      </td>
      <td className="number">
        {best && (
          <>
            {number(best.value)}
            <div className="small muted">{best.name}</div>
          </>
        )}
      </td>
      <td>
        <JobActions job={job} />
      </td>
    </tr>
  );
}

function ProgressOf({ job }: { job: JobJson }) {
  const t = useT();
  if (kindOf(job.state) === "queued")
    return <span className="muted">{job.queuePosition ? t.jobs.position(job.queuePosition) : job.waitingFor}</span>;
  if (job.state === "JOB_STATE_FAILED") return <span className="small break">{job.error?.message}</span>;
  if (isEnded(job.state)) return null;
  const left = seconds(job.progress?.remaining);
  const done = Number(job.progress?.fraction ?? 0);
  return (
    <div className="stack">
      <Progress value={done} label={t.jobs.columns.progress} />
      <span className="small muted">
        {percent(done)}
        {left !== undefined && ` · ${t.jobs.left(duration(left))}`}
      </span>
    </div>
  );
}

function bestMetric(job: JobJson) {
  const names = ["eval/accuracy_top1", "eval/map50", "eval/loss", "train/loss"];
  const name = names.find((each) => job.metrics?.[each]);
  return name ? { name, value: Number(job.metrics?.[name]?.best ?? 0) } : undefined;
}

/** What can be done with a job in its state. */
export function JobActions({ job }: { job: JobJson }) {
  const t = useT();
  const [asked, setAsked] = useState<"cancel" | "delete" | null>(null);
  const [error, setError] = useState<ApiError | null>(null);
  const act = (work: Promise<unknown>) => {
    setError(null);
    work.catch((failed: unknown) => setError(failed instanceof ApiError ? failed : null));
  };
  const ended = isEnded(job.state);
  const paused = kindOf(job.state) === "paused";
  const name = job.name ?? "";
  return (
    <div className="row">
      {!ended && !paused && <Button onClick={() => act(post(`/v1/${name}:pause`, {}))}>{t.actions.pause}</Button>}
      {paused && (
        <Button look="primary" onClick={() => act(post(`/v1/${name}:resume`, {}))}>
          {t.actions.resume}
        </Button>
      )}
      {!ended && <Button onClick={() => setAsked("cancel")}>{t.actions.cancel}</Button>}
      {ended && (
        <Button onClick={() => act(post(`/v1/${name}:rerun`, { requestId: crypto.randomUUID() }))}>{t.actions.rerun}</Button>
      )}
      {ended && <Button onClick={() => setAsked("delete")}>{t.actions.delete}</Button>}
      {error && <Failure error={error} />}
      {asked === "cancel" && (
        <Confirm
          title={t.jobs.cancelTitle(jobTitle(job))}
          text={t.jobs.cancelText}
          yes={t.actions.cancel}
          no={t.actions.keepRunning}
          onYes={() => act(post(`/v1/${name}:cancel`, {}))}
          onClose={() => setAsked(null)}
        />
      )}
      {asked === "delete" && (
        <Confirm
          title={t.jobs.deleteTitle(jobTitle(job))}
          text={t.jobs.deleteText}
          yes={t.actions.delete}
          no={t.actions.close}
          onYes={() => act(remove(`/v1/${name}`).then(() => forgetJob(name)))}
          onClose={() => setAsked(null)}
        />
      )}
    </div>
  );
}
