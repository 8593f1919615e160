/** A report's findings by kind: how grave, how many, what to do, and each file with its picture. */

import { useState } from "react";
import { useLocation, useSearchParams } from "wouter";
import { VList } from "virtua";

import { idOf, post, newId } from "../api/http";
import type { DatasetJson, FindingJson } from "../gen/tuneyard/v1/dataset_pb";
import type { CreateDatasetVersionResponseJson } from "../gen/tuneyard/v1/dataset_service_pb";
import { useT } from "../i18n";
import { Button, Confirm, Failure } from "../ui/parts";
import { filesToLeaveOut, grouped, leaveOut, otherPath, severities, severityKind, titleOf, type Group } from "./findings";
import { FindingText } from "./finding-text";
import { Thumb, Viewer } from "./viewer";

const SEVERITIES = { error: "SEVERITY_ERROR", warning: "SEVERITY_WARNING", info: "SEVERITY_INFO" } as const;
const ROW = 80;
const MOST_HEIGHT = 480;

export function Findings({ dataset }: { dataset: DatasetJson }) {
  const t = useT();
  const [search, setSearch] = useSearchParams();
  const filter = {
    severity: search.get("severity") ?? "",
    split: search.get("split") ?? "",
    class: search.get("class") ?? "",
  };
  const set = (name: string, value: string) =>
    setSearch(
      (before) => {
        const next = new URLSearchParams(before);
        if (value) next.set(name, value);
        else next.delete(name);
        return next;
      },
      { replace: true },
    );
  const groups = grouped(dataset.report, filter);
  const all = severities(dataset.report);
  const kinds = (["error", "warning", "info"] as const).filter((kind) => all[kind] > 0);
  return (
    <section className="stack">
      <div className="row spread">
        <h2>{t.datasets.findings}</h2>
        <ReportLink dataset={dataset} />
      </div>
      <div className="row">
        {kinds.length > 1 && (
          <Choice
            label={t.datasets.severityLabel}
            value={filter.severity}
            options={kinds.map((kind) => ({ value: SEVERITIES[kind], label: t.datasets.severities[kind](all[kind]) }))}
            onChange={(value) => set("severity", value)}
          />
        )}
        <Choice
          label={t.datasets.split}
          value={filter.split}
          options={(dataset.report?.splits ?? []).map(({ split = "" }) => ({ value: split, label: split }))}
          onChange={(value) => set("split", value)}
        />
        {dataset.format === "DATASET_FORMAT_IMAGE_FOLDER" && (
          <Choice
            label={t.datasets.class}
            value={filter.class}
            options={(dataset.report?.classes ?? []).map((name) => ({ value: name, label: name }))}
            onChange={(value) => set("class", value)}
          />
        )}
      </div>
      {groups.length === 0 && <p>{t.datasets.noFindings}</p>}
      <div className="groups">
        {groups.map((group) => (
          <GroupOf
            key={group.code}
            dataset={dataset}
            group={group}
            filtered={Boolean(filter.split || filter.class)}
            open={search.get("code") === group.code}
            onToggle={(open) => {
              if (open) set("code", group.code);
              else if (search.get("code") === group.code) set("code", "");
            }}
          />
        ))}
      </div>
    </section>
  );
}

function Choice({
  label,
  value,
  options,
  onChange,
}: {
  label: string;
  value: string;
  options: readonly { value: string; label: string }[];
  onChange: (value: string) => void;
}) {
  const t = useT();
  if (options.length < 2) return null;
  return (
    <label className="row small muted">
      {label}
      <select className="input narrow" value={value} onChange={(event) => onChange(event.target.value)}>
        <option value="">{t.datasets.all}</option>
        {options.map((option) => (
          <option key={option.value} value={option.value}>
            {option.label}
          </option>
        ))}
      </select>
    </label>
  );
}

function GroupOf({
  dataset,
  group,
  filtered,
  open,
  onToggle,
}: {
  dataset: DatasetJson;
  group: Group;
  filtered: boolean;
  open: boolean;
  onToggle: (open: boolean) => void;
}) {
  const t = useT();
  const [shown, setShown] = useState<number | null>(null);
  const kind = severityKind(group.severity);
  const items = group.findings;
  const height = Math.min(items.length * ROW, MOST_HEIGHT);
  return (
    <details open={open} onToggle={(event) => event.currentTarget.open !== open && onToggle(event.currentTarget.open)}>
      <summary>
        <span className={`severity ${kind}`}>{t.datasets.severity[kind]}</span>
        <strong>{titleOf(group.code, t.datasets.codes)}</strong>
        <span className="muted">{group.count}</span>
        <span className="text-2 remedy">{t.datasets.remedies[group.code] ?? group.remedy}</span>
      </summary>
      {open && (
        <div className="stack spaced-top">
          <Without dataset={dataset} group={group} filtered={filtered} />
          {group.count > items.length && <p className="small muted">{t.datasets.listed(items.length, group.count)}</p>}
          <VList style={{ height }} tabIndex={height === MOST_HEIGHT ? 0 : undefined}>
            {items.map((finding, index) => (
              <Row key={index} dataset={dataset} finding={finding} onLook={() => setShown(index)} />
            ))}
          </VList>
        </div>
      )}
      {shown !== null && <Viewer dataset={dataset} findings={items} at={shown} onMove={setShown} onClose={() => setShown(null)} />}
    </details>
  );
}

function Row({ dataset, finding, onLook }: { dataset: DatasetJson; finding: FindingJson; onLook: () => void }) {
  const t = useT();
  const other = otherPath(finding);
  const told = (
    <span className="grow">
      {finding.path && (
        <span className="mono break">
          {finding.path}
          {finding.line && <span className="muted"> {t.datasets.line(finding.line)}</span>}
        </span>
      )}
      <span className="small text-2 break"><FindingText finding={finding} /></span>
    </span>
  );
  if (!finding.path) return <div className="finding">{told}</div>;
  return (
    <button type="button" className="finding" onClick={onLook}>
      <Thumb dataset={dataset} path={finding.path} />
      {other && <Thumb dataset={dataset} path={other} />}
      {told}
    </button>
  );
}

function Without({ dataset, group, filtered }: { dataset: DatasetJson; group: Group; filtered: boolean }) {
  const t = useT();
  const [, go] = useLocation();
  const [asked, setAsked] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const files = filesToLeaveOut(dataset, group);
  if (!files) return null;
  const make = async () => {
    setError(null);
    try {
      const displayName = t.datasets.versionName(dataset.displayName || idOf(dataset.name), titleOf(group.code, t.datasets.codes));
      const body = { ...leaveOut(group, filtered), displayName: displayName.slice(0, 200), requestId: newId() };
      const told = await post<CreateDatasetVersionResponseJson>(`/v1/${dataset.name}:createVersion`, body);
      go(`/datasets/${idOf(told.dataset?.name)}`);
    } catch (failed) {
      setError(failed);
    }
  };
  return (
    <div className="row">
      <Button onClick={() => setAsked(true)}>{t.datasets.without(files)}</Button>
      {error !== null && <Failure error={error} />}
      {asked && (
        <Confirm
          title={t.datasets.withoutTitle(files)}
          text={t.datasets.withoutText}
          yes={t.datasets.withoutYes}
          no={t.actions.close}
          look="primary"
          onYes={() => void make()}
          onClose={() => setAsked(false)}
        />
      )}
    </div>
  );
}

/** The whole report as a file. */
function ReportLink({ dataset }: { dataset: DatasetJson }) {
  const t = useT();
  const save = () => {
    const url = URL.createObjectURL(new Blob([JSON.stringify(dataset.report, null, 2)], { type: "application/json" }));
    const link = document.createElement("a");
    link.href = url;
    link.download = `${idOf(dataset.name)}-report.json`;
    link.click();
    URL.revokeObjectURL(url);
  };
  return <Button onClick={save}>{t.datasets.report}</Button>;
}
