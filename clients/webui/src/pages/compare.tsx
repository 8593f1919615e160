/** Up to five jobs beside each other: their curves, their best values, the settings in which they differ. */

import { Suspense, lazy, useMemo, useRef, useState, useSyncExternalStore, type ReactNode } from "react";
import { Link, useLocation, useSearch } from "wouter";

import { idOf } from "../api/http";
import { useJobs } from "../api/jobs";
import type { Source } from "../charts/panel";
import { bytes, count, duration } from "../format";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { useT } from "../i18n";
import type { Messages } from "../i18n/en";
import { jobTitle, plannedStepsOf } from "../job";
import { clockOf } from "../job/clock";
import { bestRows, compareUrl, idsOf, MOST, settingRows, type Cell } from "../job/comparison";
import { storeOf, type JobView } from "../job/store";
import { metricName, metricValue } from "../metrics";
import { fieldName, valueText } from "../train/words";
import { Button, Failure, Loading, Page, StateBadge } from "../ui/parts";

const Panels = lazy(() => import("../charts/charts").then((found) => ({ default: found.Panels })));

interface Compared {
  id: string;
  view: JobView;
  job: JobJson;
  title: string;
}

export default function ComparePage() {
  const t = useT();
  const search = useSearch();
  const [, navigate] = useLocation();
  const ids = useMemo(() => idsOf(new URLSearchParams(search)), [search]);
  const views = useViews(ids);
  const show = (next: readonly string[]) => navigate(compareUrl(next), { replace: true });
  const compared = ids.flatMap((id, index): Compared[] => {
    const view = views[index];
    return view?.job ? [{ id, view, job: view.job, title: titleOf(t, view.job, views) }] : [];
  });
  const failed = views.filter((view) => view.error && !view.job);
  return (
    <Page title={t.compare.title} crumb={{ href: "/jobs", label: t.nav.jobs }}>
      <div className="stack wide">
        <div className="stack">
          {compared.length > 0 && <Chosen compared={compared} onShow={show} />}
          {ids.length === 0 && <p>{t.compare.empty}</p>}
          {ids.length < MOST ? <Add ids={ids} onAdd={(id) => show([...ids, id])} /> : <p className="small muted">{t.compare.full}</p>}
          {failed.map((view, index) => (
            <Failure key={index} error={view.error} />
          ))}
        </div>
        {ids.length > 0 && compared.length + failed.length < ids.length && <Loading lines={6} />}
        {compared.length > 0 && <Curves compared={compared} />}
        {compared.length > 0 && <Best compared={compared} />}
        {compared.length > 1 && <Differences compared={compared} />}
      </div>
    </Page>
  );
}

/** The views of several jobs, live. */
function useViews(ids: readonly string[]): readonly JobView[] {
  const kept = useRef<readonly JobView[]>([]);
  const subscribe = useMemo(
    () => (listener: () => void) => {
      const stops = ids.map((id) => storeOf(id).subscribe(listener));
      return () => stops.forEach((stop) => stop());
    },
    [ids],
  );
  return useSyncExternalStore(subscribe, () => {
    const now = ids.map((id) => storeOf(id).snapshot());
    const isSame = now.length === kept.current.length && now.every((view, index) => view === kept.current[index]);
    return isSame ? kept.current : (kept.current = now);
  });
}

/** A job's title; with the beginning of its id where another one is called the same. */
function titleOf(t: Messages, job: JobJson, views: readonly JobView[]): string {
  const title = jobTitle(t, job);
  const twins = views.filter((view) => view.job && jobTitle(t, view.job) === title);
  return twins.length > 1 ? `${title} · ${idOf(job.name).slice(-4)}` : title;
}

function Chosen({ compared, onShow }: { compared: readonly Compared[]; onShow: (ids: readonly string[]) => void }) {
  const t = useT();
  const ids = compared.map(({ id }) => id);
  return (
    <ul className="compared">
      {compared.map(({ id, job, title }, index) => (
        <li key={id}>
          <span className={`chart-key line-${index + 1}`} aria-hidden="true" />
          <Link href={`/jobs/${id}`} className="break">
            {title}
          </Link>
          <StateBadge state={job.state} />
          <span className="row tail">
            {index === 0 ? (
              <span className="small muted">{t.compare.baseline}</span>
            ) : (
              <Button
                look="plain"
                aria-label={`${t.compare.asBaseline}: ${title}`}
                onClick={() => onShow([id, ...ids.filter((each) => each !== id)])}
              >
                {t.compare.asBaseline}
              </Button>
            )}
            <Button look="plain" aria-label={t.compare.remove(title)} onClick={() => onShow(ids.filter((each) => each !== id))}>
              ×
            </Button>
          </span>
        </li>
      ))}
    </ul>
  );
}

function Add({ ids, onAdd }: { ids: readonly string[]; onAdd: (id: string) => void }) {
  const t = useT();
  const { jobs } = useJobs();
  const others = [...jobs.values()]
    .filter((job) => job.spec?.training && !ids.includes(idOf(job.name)))
    .sort((a, b) => (b.name ?? "").localeCompare(a.name ?? ""));
  return (
    <label className="field">
      <span className="visually-hidden">{t.compare.add}</span>
      <select className="input narrow" value="" onChange={(event) => event.target.value && onAdd(event.target.value)}>
        <option value="">{t.compare.add}</option>
        {others.map((job) => (
          <option key={job.name} value={idOf(job.name)}>
            {jobTitle(t, job)} · {t.states[(job.state as keyof typeof t.states) ?? "JOB_STATE_UNSPECIFIED"]}
          </option>
        ))}
      </select>
    </label>
  );
}

function Curves({ compared }: { compared: readonly Compared[] }) {
  const t = useT();
  const sources = compared.map(({ view, job, title }, index): Source => ({
    curves: view.curves,
    plannedSteps: plannedStepsOf(job),
    clock: clockOf(view.lines),
    label: (name) => (name === "eval/loss" ? `${title} · ${t.stageNames.eval}` : title),
    color: index + 1,
  }));
  if (sources.every(({ curves }) => curves.size === 0)) return <p className="muted">{t.compare.noMetrics}</p>;
  return (
    <section className="stack">
      <h2 className="visually-hidden">{t.job.tabs.charts}</h2>
      <Suspense fallback={<Loading lines={6} />}>
        <Panels sources={sources} marks={[]} version={compared.reduce((sum, { view }) => sum + view.sequence, 0)} />
      </Suspense>
    </section>
  );
}

function Heads({ compared, first }: { compared: readonly Compared[]; first: string }) {
  return (
    <thead>
      <tr>
        <th>{first}</th>
        {compared.map(({ id, title }, index) => (
          <th key={id} className="break">
            <span className={`chart-key line-${index + 1}`} aria-hidden="true" /> {title}
          </th>
        ))}
      </tr>
    </thead>
  );
}

/** A table that may be wider than the page: it scrolls, by keyboard too. */
function Sideways({ label, children }: { label: string; children: ReactNode }) {
  return (
    // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex
    <div className="sideways" role="region" aria-label={label} tabIndex={0}>
      {children}
    </div>
  );
}

function Best({ compared }: { compared: readonly Compared[] }) {
  const t = useT();
  const jobs = compared.map(({ job }) => job);
  const rows = bestRows(jobs);
  return (
    <section className="stack">
      <h2>{t.compare.best}</h2>
      {compared.length > 1 && <p className="small muted">{t.compare.bestNote}</p>}
      <Sideways label={t.compare.best}>
        <table className="side-by-side">
          <Heads compared={compared} first={t.compare.metric} />
          <tbody>
            {rows.map(({ name, cells }) => (
              <tr key={name}>
                <th scope="row">{metricName(t, name)}</th>
                {cells.map((cell, index) => (
                  <td key={compared[index]!.id}>{cell ? <BestCell name={name} cell={cell} /> : "–"}</td>
                ))}
              </tr>
            ))}
            <tr>
              <th scope="row">{t.compare.duration}</th>
              {jobs.map((job) => (
                <td key={job.name}>{duration(tookOf(job))}</td>
              ))}
            </tr>
            <tr>
              <th scope="row">{t.compare.memory}</th>
              {jobs.map((job) => (
                <td key={job.name}>{memoryOf(job)}</td>
              ))}
            </tr>
          </tbody>
        </table>
      </Sideways>
    </section>
  );
}

function BestCell({ name, cell }: { name: string; cell: Cell }) {
  const t = useT();
  const { value, step, difference, isBetter } = cell;
  return (
    <>
      {metricValue(name, value)}{" "}
      {difference !== undefined && difference !== 0 && (
        <span className={`difference ${isBetter ? "better" : "worse"}`}>
          <span aria-hidden="true">{isBetter ? "▲" : "▼"}</span>
          <span className="visually-hidden">{isBetter ? t.compare.better : t.compare.worse}</span> {difference > 0 ? "+" : "−"}
          {metricValue(name, Math.abs(difference))}
        </span>
      )}
      {step > 0 && <div className="small muted">{t.job.atStep(count(step))}</div>}
    </>
  );
}

const tookOf = (job: JobJson) =>
  job.startTime && job.endTime ? (Date.parse(job.endTime) - Date.parse(job.startTime)) / 1000 : undefined;

const memoryOf = (job: JobJson) => {
  const found = Number(job.peakMemory?.deviceBytes ?? 0) || Number(job.peakMemory?.hostBytes ?? 0);
  return found ? bytes(found) : "–";
};

function Differences({ compared }: { compared: readonly Compared[] }) {
  const t = useT();
  const [all, setAll] = useState(false);
  const rows = settingRows(compared.map(({ job }) => job));
  const shown = rows.filter((row) => all || row.differs);
  return (
    <section className="stack">
      <div className="row">
        <h2>{t.compare.settings}</h2>
        <label className="row">
          <input type="checkbox" checked={all} onChange={(event) => setAll(event.target.checked)} />
          {t.compare.allSettings}
        </label>
      </div>
      {shown.length === 0 ? (
        <p>{t.compare.same}</p>
      ) : (
        <Sideways label={t.compare.settings}>
          <table className="side-by-side">
            <Heads compared={compared} first={t.job.setting} />
            <tbody>
              {shown.map(({ path, values, differs }) => (
                <tr key={path}>
                  <th scope="row">{fieldName(t, path)}</th>
                  {values.map((value, index) => (
                    <td key={compared[index]!.id} className={all && differs ? "given break" : "break"}>
                      {(value && valueText(t, value)) || <span className="muted">{t.compare.unset}</span>}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </Sideways>
      )}
    </section>
  );
}
