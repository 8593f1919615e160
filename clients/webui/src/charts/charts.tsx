/** The panels of one or several jobs and what they have in common: axis, scale, smoothing, zoom. */

import { useEffect, useState, type ReactNode } from "react";
import { Link, useSearchParams } from "wouter";

import { idOf } from "../api/http";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { useT } from "../i18n";
import { plannedStepsOf } from "../job";
import { clockOf } from "../job/clock";
import type { JobView, Mark } from "../job/store";
import { isTaken, singleKeysAreOn } from "../keys";
import { measureName, metricName, partsOf } from "../metrics";
import { isEnded } from "../states";
import { Button, Segmented } from "../ui/parts";
import Chart from "./chart";
import { panelsOf, rank, type Look, type PanelSpec, type Source } from "./panel";

const KEY = "tuneyard.charts";
const PLAIN: Look = { axis: "step", log: false, smoothing: 0.6, ignoreSpikes: false };

function kept(): Look {
  try {
    return { ...PLAIN, ...(JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Look>) };
  } catch {
    return PLAIN;
  }
}

/** The charts of one job. */
export default function Charts({ view, job }: { view: JobView; job: JobJson }) {
  const t = useT();
  if (!view.curves.size) return <p className="muted">{isEnded(job.state) ? t.job.noCurvesAtEnd : t.job.noCurves}</p>;
  const label = (name: string) => {
    const { stage, part } = partsOf(name);
    return part || (stage ? t.stageNames[stage] : metricName(t, name));
  };
  const source: Source = { curves: view.curves, plannedSteps: plannedStepsOf(job), clock: clockOf(view.lines), label, color: undefined };
  return (
    <div className="stack">
      <Panels sources={[source]} marks={view.marks} version={view.sequence}>
        <Link href={`/compare?job=${idOf(job.name)}`} className="button">
          {t.compare.open}
        </Link>
      </Panels>
      <p className="small muted">{t.job.marks}</p>
    </div>
  );
}

/** Panels shown beside the loss before the others are folded away. */
const OPEN = 6;

export function Panels({
  sources,
  marks,
  version,
  children,
}: {
  sources: readonly Source[];
  marks: readonly Mark[];
  version: number;
  children?: ReactNode;
}) {
  const t = useT();
  const { look, change } = useLook();
  const [range, setRange] = useRange();
  const [filter, setFilter] = useState("");
  const all = panelsOf(sources);
  const fits = ({ measure }: PanelSpec) => `${measure} ${measureName(t, measure)}`.toLowerCase().includes(filter.toLowerCase());
  const found = all.filter(fits);
  const shown = filter || all.length <= OPEN ? found : found.filter((panel) => rank(panel) < 3);
  const folded = found.filter((panel) => !shown.includes(panel));
  const draw = (panel: PanelSpec) => (
    <Chart key={panel.measure} {...panel} {...{ look, marks, version, range }} onRange={setRange} wide={panel.measure === "loss"} />
  );
  useKeys({ l: () => change({ log: !look.log }), "0": () => setRange(null) });
  return (
    <>
      <div className="row chart-tools">
        <Segmented
          label={t.job.axis.label}
          value={look.axis}
          options={(["step", "epoch", "time"] as const).map((value) => ({ value, label: t.job.axis[value] }))}
          onChange={(axis) => {
            change({ axis });
            setRange(null);
          }}
        />
        <Smoothing value={look.smoothing} onChange={(smoothing) => change({ smoothing })} />
        <label className="row">
          <input type="checkbox" checked={look.log} onChange={(event) => change({ log: event.target.checked })} />
          {t.job.logScale}
        </label>
        <label className="row">
          <input type="checkbox" checked={look.ignoreSpikes} onChange={(event) => change({ ignoreSpikes: event.target.checked })} />
          {t.job.ignoreSpikes}
        </label>
        {all.length > OPEN && (
          <input
            className="input narrow"
            type="search"
            aria-label={t.job.filterPanels}
            placeholder={t.job.filterPanels}
            value={filter}
            onChange={(event) => setFilter(event.target.value)}
          />
        )}
        {range && <Button onClick={() => setRange(null)}>{t.job.resetZoom}</Button>}
        {children}
      </div>
      <div className="charts">{shown.map(draw)}</div>
      {folded.length > 0 && (
        <details>
          <summary>{t.job.moreMetrics(folded.length)}</summary>
          <div className="charts spaced-top">{folded.map(draw)}</div>
        </details>
      )}
    </>
  );
}

function Smoothing({ value, onChange }: { value: number; onChange: (value: number) => void }) {
  const t = useT();
  return (
    <label className="row">
      {t.job.smoothing}
      <input type="range" min={0} max={0.99} step={0.01} value={value} onChange={(event) => onChange(Number(event.target.value))} />
      <span className="smoothing">{value === 0 ? t.job.off : value.toFixed(2)}</span>
    </label>
  );
}

/** How charts look, kept in this browser for all jobs. */
function useLook() {
  const [look, setLook] = useState<Look>(kept);
  const change = (next: Partial<Look>) => {
    const all = { ...look, ...next };
    localStorage.setItem(KEY, JSON.stringify(all));
    setLook(all);
  };
  return { look, change };
}

/** The range of x that is shown, in the address: "?zoom=100:400". */
function useRange() {
  const [search, setSearch] = useSearchParams();
  const [from, to] = (search.get("zoom") ?? "").split(":").map(Number);
  const isRange = from !== undefined && to !== undefined && to > from;
  // The same pair as long as it is the same range: effects hang on it.
  const [range, keep] = useState<[number, number] | null>(isRange ? [from, to] : null);
  const set = (next: [number, number] | null) => {
    keep(next);
    setSearch(
      (before) => {
        if (next) before.set("zoom", next.map((value) => Number(value.toPrecision(6))).join(":"));
        else before.delete("zoom");
        return before;
      },
      { replace: true },
    );
  };
  return [range, set] as const;
}

function useKeys(actions: Record<string, () => void>) {
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (singleKeysAreOn() && !isTaken(event)) actions[event.key]?.();
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
}

