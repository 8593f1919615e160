/** All jobs: what runs, what waits, what ended; live. */

import { useState } from "react";
import { Link, useSearchParams } from "wouter";

import { idOf } from "../api/http";
import { useJobs } from "../api/jobs";
import { duration, percent, seconds } from "../format";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { useT } from "../i18n";
import type { Messages } from "../i18n/en";
import { jobTitle, kindOfJob } from "../job";
import { isEnded, kindOf } from "../states";
import { JobActions } from "../job/actions";
import { compareUrl, MOST } from "../job/comparison";
import { queueText } from "../job/outcome";
import { MAIN, metricName, metricValue } from "../metrics";
import { Button, Loading, Page, Progress, StateBadge } from "../ui/parts";

export default function JobsPage() {
  const t = useT();
  const { jobs, loaded } = useJobs();
  const [search, setSearch] = useSearchParams();
  const filter = search.get("filter") ?? "";
  const [chosen, setChosen] = useState<readonly string[]>([]);
  const choose = (id: string) => setChosen(chosen.includes(id) ? chosen.filter((each) => each !== id) : [...chosen, id]);
  const all = [...jobs.values()].sort((a, b) => (b.name ?? "").localeCompare(a.name ?? ""));
  const shown = all.filter((job) => describe(t, job).includes(filter.toLowerCase()));
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
                  <JobTable jobs={group.jobs} chosen={chosen} onChoose={choose} />
                </section>
              ),
          )}
          {chosen.length > 0 && (
            <div className="chosen" role="region" aria-label={t.compare.title}>
              <span>{t.compare.chosen(chosen.length)}</span>
              <Link href={compareUrl(chosen)} className="button primary">
                {t.compare.open}
              </Link>
              <Button onClick={() => setChosen([])}>{t.compare.clear}</Button>
            </div>
          )}
        </div>
      )}
    </Page>
  );
}

const describe = (t: Messages, job: JobJson) =>
  [jobTitle(t, job), job.name, job.spec?.training?.baseModel, job.spec?.training?.dataset].join(" ").toLowerCase();

interface Choosing {
  /** Ids of the jobs that are chosen to be compared. */
  chosen: readonly string[];
  onChoose: (id: string) => void;
}

function JobTable({ jobs, ...choosing }: { jobs: JobJson[] } & Choosing) {
  const t = useT();
  return (
    <div className="panel">
      <table className="folds jobs">
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
            <JobRow key={job.name} job={job} {...choosing} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function JobRow({ job, chosen, onChoose }: { job: JobJson } & Choosing) {
  const t = useT();
  const id = idOf(job.name);
  const kind = kindOfJob(job);
  const best = bestMetric(job);
  return (
    <tr>
      <td>
        <div className="row">
          {job.spec?.training && (
            <input
              type="checkbox"
              aria-label={t.compare.choose(jobTitle(t, job))}
              checked={chosen.includes(id)}
              disabled={!chosen.includes(id) && chosen.length >= MOST}
              onChange={() => onChoose(id)}
            />
          )}
          <StateBadge state={job.state} />
          <Link href={`/jobs/${id}`} className="break">
            {jobTitle(t, job)}
          </Link>
        </div>
        <div className="small muted break">
          {[kind && t.kinds[kind], job.spec?.training?.baseModel, idOf(job.spec?.training?.dataset)].filter(Boolean).join(" · ")}
        </div>
      </td>
      <td>
        <ProgressOf job={job} />
      </td>
      <td className="number">
        {best && (
          <>
            {metricValue(best.name, best.value)}
            <div className="small muted">{metricName(t, best.name)}</div>
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
  const { jobs } = useJobs();
  if (kindOf(job.state) === "queued")
    return <span className="muted">{queueText(t, job, jobs.values())}</span>;
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
  const name = MAIN.find((each) => job.metrics?.[each]);
  return name ? { name, value: Number(job.metrics?.[name]?.best ?? 0) } : undefined;
}
