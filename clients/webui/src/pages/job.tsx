/** A job: where it stands, its curves, samples, log, settings, artifacts, and its model to try. */

import { Suspense, lazy, useEffect, useSyncExternalStore } from "react";
import { Link, useLocation } from "wouter";

import { idOf } from "../api/http";
import { duration, number, percent, seconds } from "../format";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { useT } from "../i18n";
import { Artifacts } from "../job/artifacts";
import { Log } from "../job/log";
import { Samples } from "../job/samples";
import { Settings } from "../job/settings";
import { storeOf, type JobView } from "../job/store";
import { TryIt } from "../job/try-it";
import { jobTitle, kindOfJob } from "../job";
import { isEnded, kindOf } from "../states";
import { Failure, Loading, Progress, StateBadge } from "../ui/parts";
import { JobActions } from "./jobs";

const Charts = lazy(() => import("../charts/charts"));
const TABS = ["charts", "samples", "log", "settings", "artifacts", "try"] as const;
type Tab = (typeof TABS)[number];

export default function JobPage({ params }: { params: { id: string; tab?: string } }) {
  const t = useT();
  const store = storeOf(params.id);
  const view = useSyncExternalStore(store.subscribe, store.snapshot);
  const [, navigate] = useLocation();
  const tab = (TABS as readonly string[]).includes(params.tab ?? "") ? (params.tab as Tab) : "charts";
  useTitle(view.job);
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|TEXTAREA|SELECT/.test(target.tagName)) return;
      const chosen = TABS[Number(event.key) - 1];
      if (chosen) navigate(`/jobs/${params.id}/${chosen}`);
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [navigate, params.id]);
  if (!view.job)
    return (
      <main className="page" id="content">
        <h1 className="visually-hidden">{t.nav.jobs}</h1>
        {view.error ? <Failure error={view.error} /> : <Loading lines={8} />}
      </main>
    );
  return (
    <main className="page" id="content">
      <Head job={view.job} />
      <Outcome view={view} job={view.job} />
      <nav className="tabs" aria-label={t.job.tabs.label}>
        {TABS.map((each) => (
          <Link key={each} href={`/jobs/${params.id}/${each}`} aria-current={each === tab ? "page" : undefined}>
            {t.job.tabs[each]}
          </Link>
        ))}
      </nav>
      {tab === "charts" && (
        <Suspense fallback={<Loading lines={6} />}>
          <Charts view={view} job={view.job} />
        </Suspense>
      )}
      {tab === "samples" && <Samples view={view} job={view.job} />}
      {tab === "log" && <Log view={view} />}
      {tab === "settings" && <Settings job={view.job} />}
      {tab === "artifacts" && <Artifacts job={view.job} count={view.artifacts} />}
      {tab === "try" && <TryIt job={view.job} />}
    </main>
  );
}

function useTitle(job: JobJson | undefined) {
  const t = useT();
  useEffect(() => {
    if (!job) return;
    const signs = { succeeded: "✓ ", failed: "✕ ", cancelled: "✕ ", paused: "❚❚ ", queued: "", running: "" };
    const kind = kindOf(job.state);
    const done = kind === "running" ? `${percent(Number(job.progress?.fraction ?? 0))} · ` : signs[kind];
    document.title = `${done}${jobTitle(job)} · ${t.brand}`;
  }, [job, t]);
}

function Head({ job }: { job: JobJson }) {
  const t = useT();
  const kind = kindOfJob(job);
  const training = job.spec?.training;
  const source = job.spec?.merge?.sourceJob ?? job.spec?.export?.sourceJob ?? job.spec?.evaluate?.sourceJob;
  return (
    <header>
      <div className="grow stack">
        <ul className="row small muted">
          <li>
            <Link href="/jobs">{t.nav.jobs}</Link>
          </li>
          <li aria-hidden="true">/</li>
          <li className="mono">{idOf(job.name).slice(0, 13)}</li>
        </ul>
        <div className="row">
          <h1 className="break">{jobTitle(job)}</h1>
          <StateBadge state={job.state} />
        </div>
        <p className="row small muted">
          {kind && <span>{t.kinds[kind]}</span>}
          {training?.baseModel && <span>{training.baseModel}</span>}
          {training?.dataset && <Link href={`/datasets/${idOf(training.dataset)}`}>{idOf(training.dataset)}</Link>}
          {source && <Link href={`/jobs/${idOf(source)}`}>{t.job.source}</Link>}
        </p>
      </div>
      <JobActions job={job} />
    </header>
  );
}

/** Progress while it runs; what happened and what to do when it ended; numbers; advice. */
function Outcome({ view, job }: { view: JobView; job: JobJson }) {
  const t = useT();
  const kind = kindOf(job.state);
  return (
    <div className="stack spaced">
      {view.error && <Failure error={view.error} />}
      {!view.connected && (
        <div className="note warning" role="status">
          <strong>{t.reconnecting}</strong> {t.job.shownUpTo(number(Number(job.progress?.step ?? 0)))}
        </div>
      )}
      {kind === "queued" && (
        <p>{job.queuePosition ? t.jobs.position(job.queuePosition) : (job.waitingFor ?? t.states.JOB_STATE_QUEUED)}</p>
      )}
      {kind === "running" && <Running view={view} job={job} />}
      {job.state === "JOB_STATE_FAILED" && (
        <section className="note danger stack" role="alert">
          <h2>{t.states.JOB_STATE_FAILED}</h2>
          <p className="break">{job.error?.message}</p>
          {!!job.error?.remedies?.length && (
            <ul>
              {job.error.remedies.map((remedy) => (
                <li key={remedy}>→ {remedy}</li>
              ))}
            </ul>
          )}
          <p className="small muted">
            {job.error?.stage && `${job.error.stage} · `}
            {(job.error?.reason ?? "").replace("ERROR_REASON_", "")}
          </p>
        </section>
      )}
      {isEnded(job.state) && job.startTime && job.endTime && (
        <p>
          {t.job.took(duration((Date.parse(job.endTime) - Date.parse(job.startTime)) / 1000))}
          {job.earlyStopped && ` ${t.job.stoppedEarly}`}
        </p>
      )}
      <Numbers job={job} />
      {view.advice.map((event) => (
        <section key={event.sequence} className="note warning stack">
          <h3>{t.job.advice}</h3>
          <p>{event.advice?.observation}</p>
          <ul>
            {event.advice?.remedies?.map((remedy) => (
              <li key={remedy}>→ {remedy}</li>
            ))}
          </ul>
        </section>
      ))}
    </div>
  );
}

function Running({ view, job }: { view: JobView; job: JobJson }) {
  const t = useT();
  const progress = job.progress;
  const left = seconds(progress?.remaining);
  const stage = view.stages.findLast((each) => each.took === undefined);
  const step = Number(progress?.step ?? 0);
  return (
    <div className="stack">
      <Progress value={Number(progress?.fraction ?? 0)} label={t.jobs.columns.progress} />
      <p className="row small">
        <strong>{percent(Number(progress?.fraction ?? 0))}</strong>
        {step > 0 && <span>{t.job.step(number(step), number(Number(progress?.totalSteps ?? 0)))}</span>}
        {Number(progress?.totalEpochs ?? 0) > 0 && (
          <span>{t.job.epoch(number(Number(progress?.epoch ?? 0)), number(Number(progress?.totalEpochs)))}</span>
        )}
        {left !== undefined && <strong>{t.jobs.left(duration(left))}</strong>}
        {Number(progress?.rate ?? 0) > 0 && (
          <span>
            {number(Number(progress?.rate))} {progress?.unit}/s
          </span>
        )}
        {stage && stage.name !== "train" && <span className="muted">{stage.name.replaceAll("_", " ")}</span>}
      </p>
    </div>
  );
}

const SHOWN = ["eval/accuracy_top1", "eval/map50", "eval/map50_95", "eval/loss", "eval/perplexity", "eval/token_accuracy", "train/loss"];

function Numbers({ job }: { job: JobJson }) {
  const t = useT();
  const names = SHOWN.filter((name) => job.metrics?.[name]).slice(0, 5);
  if (!names.length) return null;
  return (
    <dl className="tiles">
      {names.map((name) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{number(Number(job.metrics?.[name]?.latest))}</dd>
          <dd className="best">{t.job.best(number(Number(job.metrics?.[name]?.best)))}</dd>
        </div>
      ))}
    </dl>
  );
}
