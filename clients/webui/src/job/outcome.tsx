/** Where a job stands: its place in the queue, its progress, what happened and what to do; numbers; advice. */

import { useState } from "react";
import { Link, useLocation } from "wouter";

import { idOf } from "../api/http";
import { useJobs } from "../api/jobs";
import { count, duration, number, percent, seconds } from "../format";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import type { Messages } from "../i18n/en";
import { useSpeech, useT } from "../i18n";
import { jobTitle, sourceOf } from "../job";
import { MAIN, measureName, metricName, metricValue } from "../metrics";
import { isEnded, kindOf } from "../states";
import { fieldName, valueText } from "../train/words";
import { Button, Failure, Original, Progress } from "../ui/parts";
import { rerun } from "./actions";
import { changesOfAdvice, changesOfFailure, specWith, type Changes } from "./again";
import { placeOf } from "./queue";
import { Results } from "./results";
import type { JobView } from "./store";

export function Outcome({ view, job }: { view: JobView; job: JobJson }) {
  const t = useT();
  const kind = kindOf(job.state);
  return (
    <div className="stack spaced">
      {view.error && <Failure error={view.error} />}
      {!view.connected && (
        <div className="note warning" role="status">
          <strong>{t.reconnecting}</strong> {t.job.shownUpTo(count(job.progress?.step))}
        </div>
      )}
      {kind === "queued" && <Queued job={job} />}
      {kind === "running" && <Running view={view} job={job} />}
      {job.state === "JOB_STATE_FAILED" && <Failed view={view} job={job} />}
      {isEnded(job.state) && <Ended job={job} />}
      {sourceOf(job) && view.summary && <Summary told={view.summary} />}
      {job.state === "JOB_STATE_SUCCEEDED" && <Results job={job} />}
      <Numbers job={job} dimmed={!view.connected} />
      {view.advice.map((event) => (
        <Advice key={event.sequence} job={job} event={event} />
      ))}
      <p className="visually-hidden" role="status">
        {spoken(t, job)}
      </p>
    </div>
  );
}

/** What is told to a screen reader: changes of state at once, progress each tenth. */
function spoken(t: Messages, job: JobJson): string {
  const state = t.states[(job.state as keyof typeof t.states) ?? "JOB_STATE_UNSPECIFIED"];
  if (job.state !== "JOB_STATE_RUNNING") return state;
  return `${state} ${percent(Math.floor(Number(job.progress?.fraction ?? 0) * 10) / 10)}`;
}

/** "2nd in the queue for vision; starts in about 8 min." */
export function queueText(t: Messages, job: JobJson, jobs: Iterable<JobJson>): string {
  if (!job.queuePosition) return job.waitingFor ? t.job.waits(job.waitingFor) : t.states.JOB_STATE_QUEUED;
  const { position, starts } = placeOf(job, jobs);
  const family = t.job.families[job.family ?? ""] ?? "";
  return t.job.queue(t.jobs.position(position), family, starts === undefined ? "" : duration(starts));
}

function Queued({ job }: { job: JobJson }) {
  const t = useT();
  const { jobs } = useJobs();
  const { running } = placeOf(job, jobs.values());
  return (
    <div className="note stack tight">
      <p>{queueText(t, job, jobs.values())}</p>
      {job.queuePosition !== undefined && job.waitingFor && <p>{t.job.waits(job.waitingFor)}</p>}
      {running.length > 0 && (
        <p className="row small">
          <span className="text-2">{t.job.before}</span>
          {running.map((other) => (
            <Link key={other.name} href={`/jobs/${idOf(other.name)}`}>
              {jobTitle(t, other)} {percent(Number(other.progress?.fraction ?? 0))}
            </Link>
          ))}
        </p>
      )}
    </div>
  );
}

function Running({ view, job }: { view: JobView; job: JobJson }) {
  const t = useT();
  const progress = job.progress;
  const left = seconds(progress?.remaining);
  const step = Number(progress?.step ?? 0);
  const done = Number(progress?.fraction ?? 0);
  return (
    <div className="stack tight">
      <Progress value={done} label={t.jobs.columns.progress} />
      <p className="row small dotted">
        <strong>{percent(done)}</strong>
        {step > 0 && <span>{t.job.step(count(step), count(progress?.totalSteps))}</span>}
        {Number(progress?.totalEpochs ?? 0) > 0 && (
          <span>{t.job.epoch(number(Number(progress?.epoch ?? 0)), count(progress?.totalEpochs))}</span>
        )}
        {left !== undefined && <strong>{t.jobs.left(duration(left))}</strong>}
        {step > 0 && Number(progress?.rate ?? 0) > 0 && (
          <span>
            {number(Number(progress?.rate))} {t.units[progress?.unit ?? ""] ?? progress?.unit}/s
          </span>
        )}
      </p>
      {job.state !== "JOB_STATE_RUNNING" || step === 0 ? <Stages view={view} /> : null}
    </div>
  );
}

/** The named parts of starting and finishing, with what each took. */
function Stages({ view }: { view: JobView }) {
  const t = useT();
  const shown = view.stages.slice(-6);
  if (!shown.length) return null;
  return (
    <ol className="row small dotted muted">
      {shown.map((stage, index) => (
        <li key={index} aria-current={stage.took === undefined ? "step" : undefined}>
          {stageWord(t, stage.name)} {stage.took === undefined ? "…" : duration(stage.took)}
        </li>
      ))}
    </ol>
  );
}

const stageWord = (t: Messages, name: string) => t.job.stageWords[name] ?? name.replaceAll("_", " ");

function Failed({ view, job }: { view: JobView; job: JobJson }) {
  const t = useT();
  const error = job.error;
  const reason = t.job.reasons[error?.reason ?? ""] ?? t.reasons[(error?.reason ?? "").replace("ERROR_REASON_", "")] ?? "";
  const own = t.failureRemedies[(error?.reason ?? "").replace("ERROR_REASON_", "")];
  const remedies = own ?? error?.remedies ?? [];
  const checkpoint = view.checkpoints.at(-1);
  const changes = changesOfFailure(job);
  const said = (
    <>
      {reason}
      {error?.stage && ` · ${t.job.inStage(stageWord(t, error.stage))}`}
    </>
  );
  return (
    <section className="note danger stack tight" role="alert">
      <h2>{t.states.JOB_STATE_FAILED}</h2>
      <dl className="facts">
        <dt>{t.job.what}</dt>
        <dd className="break">{own ? said : error?.message}</dd>
        {!own && (
          <>
            <dt>{t.job.why}</dt>
            <dd>{said}</dd>
          </>
        )}
        {remedies.length > 0 && (
          <>
            <dt>{t.job.whatToDo}</dt>
            <dd>
              <ul>
                {remedies.map((remedy) => (
                  <li key={remedy}>{remedy}</li>
                ))}
              </ul>
            </dd>
          </>
        )}
        <dt>{t.job.checkpoint}</dt>
        <dd>{checkpoint ? t.job.lastCheckpoint(count(checkpoint.step)) : t.job.noCheckpoint}</dd>
      </dl>
      {own && (
        <Original>
          <p>{error?.message}</p>
          <Remedies told={error?.remedies} />
        </Original>
      )}
      <div className="row">
        {Object.keys(changes).length > 0 && <RerunWith job={job} changes={changes} primary />}
        {job.spec?.training && (
          <Link className="button" href={`/${job.spec.training.languageModel ? "finetune" : "train"}?from=${idOf(job.name)}`}>
            {t.job.edit}
          </Link>
        )}
        {error?.reason === "ERROR_REASON_BASE_MODEL_UNAVAILABLE" && (
          <Link className="button" href="/models?import">
            {t.models.importTitle}
          </Link>
        )}
        <Link className="button" href={`/jobs/${idOf(job.name)}/log`}>
          {t.job.seeLog}
        </Link>
      </div>
    </section>
  );
}

/** A button that carries the change: "Rerun with batch size 8". */
function RerunWith({ job, changes, primary = false }: { job: JobJson; changes: Changes; primary?: boolean }) {
  const { t } = useSpeech();
  const [, go] = useLocation();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const told = Object.entries(changes).map(([path, value]) => t.job.change(fieldName(t, path), valueText(t, value)).trim());
  const start = async () => {
    setBusy(true);
    setError(null);
    try {
      go(`/jobs/${idOf(await rerun(job, specWith(job.spec, changes)))}`);
    } catch (failed) {
      setError(failed);
    } finally {
      setBusy(false);
    }
  };
  return (
    <>
      <Button look={primary ? "primary" : ""} busy={busy} disabled={busy} onClick={() => void start()}>
        {t.job.rerunWith(told.join(t.job.and))}
      </Button>
      {error !== null && <Failure error={error} />}
    </>
  );
}

function Advice({ job, event }: { job: JobJson; event: JobView["advice"][number] }) {
  const t = useT();
  const advice = event.advice;
  const changes = changesOfAdvice(advice);
  const kind = (advice?.kind ?? "").replace("ADVICE_KIND_", "");
  const meaning = t.adviceMeanings[kind];
  const told = (
    <>
      <p>{advice?.observation}</p>
      <Remedies told={advice?.remedies} />
    </>
  );
  return (
    <section className="note warning stack tight">
      <h3>{t.adviceKinds[kind] ?? t.job.advice}</h3>
      {meaning ? (
        <>
          <p>{meaning}</p>
          <ul className="plain-list">
            {Object.entries(changes).map(([path, value]) => (
              <li key={path}>→ {t.job.change(fieldName(t, path), valueText(t, value))}</li>
            ))}
          </ul>
          <Original>{told}</Original>
        </>
      ) : (
        told
      )}
      <p className="row">
        {isEnded(job.state) && Object.keys(changes).length > 0 && <RerunWith job={job} changes={changes} />}
        {advice?.guide && (
          <a href={`${t.guideAddress}#${advice.guide}`} className="small">
            {t.job.guide}
          </a>
        )}
      </p>
    </section>
  );
}

function Remedies({ told }: { told: readonly string[] | undefined }) {
  if (!told?.length) return null;
  return (
    <ul className="plain-list">
      {told.map((remedy) => (
        <li key={remedy}>→ {remedy}</li>
      ))}
    </ul>
  );
}

/** "Finished in 14 min. Best accuracy 97.5 % at step 1,200. It stopped early." */
function Ended({ job }: { job: JobJson }) {
  const t = useT();
  const took = job.startTime && job.endTime ? duration((Date.parse(job.endTime) - Date.parse(job.startTime)) / 1000) : undefined;
  const name = MAIN.find((each) => job.metrics?.[each]);
  // An evaluation measures once: of one value none is the best.
  const best = name && !sourceOf(job) && job.metrics?.[name];
  if (!took) return null;
  return (
    <p>
      {job.state === "JOB_STATE_SUCCEEDED" ? t.job.finished(took) : t.job.ended(took)}
      {name && best && ` ${t.job.bestWas(metricName(t, name), metricValue(name, Number(best.best ?? 0)), Number(best.bestStep ?? 0) ? count(best.bestStep) : "")}`}
      {job.earlyStopped && ` ${t.job.stoppedEarly}`}
    </p>
  );
}

/** What a merge, an export or an evaluation says of its result; what a training says, its curves show. */
function Summary({ told }: { told: string }) {
  const { t, language } = useSpeech();
  const own = language === "en" ? told : t.job.trainerSaid(told);
  if (own) return <p className="break">{own}</p>;
  return (
    <Original>
      <p>{told}</p>
    </Original>
  );
}

/** Numbers shown at most. */
const SHOWN = 5;

function Numbers({ job, dimmed }: { job: JobJson; dimmed: boolean }) {
  const t = useT();
  const names = MAIN.filter((name) => job.metrics?.[name]).slice(0, SHOWN);
  const proof = Object.entries(job.metrics ?? {}).filter(([name]) => name.startsWith("merge/"));
  if (!names.length && !proof.length) return null;
  return (
    <dl className={`tiles${dimmed ? " dimmed" : ""}`}>
      {proof.map(([name, { latest }]) => (
        <div key={name}>
          <dt>{measureName(t, name.replace("merge/", ""))}</dt>
          <dd>{metricValue(name, Number(latest ?? 0))}</dd>
        </div>
      ))}
      {names.map((name) => (
        <div key={name}>
          <dt>{metricName(t, name)}</dt>
          <dd>{metricValue(name, Number(job.metrics?.[name]?.latest ?? 0))}</dd>
          {!sourceOf(job) && <dd className="best">{t.job.best(metricValue(name, Number(job.metrics?.[name]?.best ?? 0)))}</dd>}
        </div>
      ))}
    </dl>
  );
}
