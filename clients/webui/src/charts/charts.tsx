/** The panels of a job and what they have in common: axis, scale, smoothing, zoom. */

import { useEffect, useState } from "react";

import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { useT } from "../i18n";
import type { JobView } from "../job/store";
import { Button, Segmented } from "../ui/parts";
import Chart from "./chart";
import { panelsOf, type Axis, type Look } from "./panel";

const KEY = "tuneyard.charts";

interface Kept {
  axis: Axis;
  log: boolean;
  smoothing: number;
}

function kept(): Kept {
  try {
    return { axis: "step", log: false, smoothing: 0.6, ...(JSON.parse(localStorage.getItem(KEY) ?? "{}") as Partial<Kept>) };
  } catch {
    return { axis: "step", log: false, smoothing: 0.6 };
  }
}

export default function Charts({ view, job }: { view: JobView; job: JobJson }) {
  const t = useT();
  const [settings, setSettings] = useState<Kept>(kept);
  const [range, setRange] = useState<[number, number] | null>(null);
  const [filter, setFilter] = useState("");
  const change = (next: Partial<Kept>) => {
    const all = { ...settings, ...next };
    localStorage.setItem(KEY, JSON.stringify(all));
    setSettings(all);
    if (next.axis) setRange(null);
  };
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (event.ctrlKey || event.metaKey || /INPUT|TEXTAREA|SELECT/.test((event.target as HTMLElement).tagName)) return;
      if (event.key === "0") setRange(null);
      if (event.key === "l") setSettings((now) => ({ ...now, log: !now.log }));
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, []);
  const look: Look = { ...settings, plannedSteps: Number(job.progress?.totalSteps ?? job.plannedSteps ?? 1) };
  const panels = panelsOf(view.curves).filter((panel) => panel.title.includes(filter.toLowerCase()));
  const version = view.sequence;
  if (!view.curves.size) return <p className="muted">{t.job.noCurves}</p>;
  return (
    <div className="stack">
      <div className="row">
        <Segmented
          label={t.job.axis.label}
          value={settings.axis}
          options={(["step", "epoch", "time"] as const).map((value) => ({ value, label: t.job.axis[value] }))}
          onChange={(axis) => change({ axis })}
        />
        <label className="row">
          <input type="checkbox" checked={settings.log} onChange={(event) => change({ log: event.target.checked })} />
          {t.job.logScale}
        </label>
        <label className="row">
          {t.job.smoothing}
          <input
            type="range"
            min={0}
            max={0.99}
            step={0.01}
            value={settings.smoothing}
            onChange={(event) => change({ smoothing: Number(event.target.value) })}
          />
          <span>{settings.smoothing === 0 ? t.job.off : settings.smoothing}</span>
        </label>
        {panels.length > 4 && (
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
      </div>
      <div className="charts">
        {panels.map((panel) => (
          <Chart
            key={panel.title}
            title={panel.title}
            lines={panel.lines}
            look={look}
            marks={view.marks}
            version={version}
            range={range}
            onRange={setRange}
          />
        ))}
      </div>
      <p className="small muted">{t.job.marks}</p>
    </div>
  );
}
