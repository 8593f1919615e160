/** All datasets with their verdicts, and how a new one gets here. */

import { useState } from "react";
import { Link, useSearchParams } from "wouter";

import { useDatasets } from "../api/datasets";
import { idOf } from "../api/http";
import { AddDataset, Uploading } from "../dataset/add";
import { DatasetBadge } from "../dataset/verdict";
import { bytes, count, moment, percent } from "../format";
import type { DatasetJson } from "../gen/tuneyard/v1/dataset_pb";
import { useT } from "../i18n";
import { Button, Failure, Loading, Page } from "../ui/parts";

export default function DatasetsPage() {
  const t = useT();
  const datasets = useDatasets();
  const [search, setSearch] = useSearchParams();
  const [adding, setAdding] = useState(search.has("add"));
  const filter = search.get("filter") ?? "";
  const all = datasets.data ?? [];
  const words = (dataset: DatasetJson) =>
    [dataset.displayName, dataset.name, t.datasets.formats[dataset.format ?? "DATASET_FORMAT_UNSPECIFIED"]].join(" ").toLowerCase();
  const shown = all.filter((dataset) => words(dataset).includes(filter.toLowerCase()));
  return (
    <Page
      title={t.datasets.title}
      aside={
        <Button look="primary" aria-expanded={adding} onClick={() => setAdding(!adding)}>
          {t.datasets.add}
        </Button>
      }
    >
      <div className="stack">
        {adding && <AddDataset />}
        <Uploading />
        {datasets.isPending && <Loading lines={6} />}
        {datasets.isError && !datasets.data && <Failure error={datasets.error} retry={() => void datasets.refetch()} />}
        {datasets.data && all.length === 0 && !adding && <p>{t.datasets.empty}</p>}
        {all.length > 0 && (
          <input
            className="input"
            type="search"
            aria-label={t.datasets.filter}
            placeholder={t.datasets.filter}
            value={filter}
            onChange={(event) => setSearch(event.target.value ? { filter: event.target.value } : {}, { replace: true })}
          />
        )}
        {all.length > 0 && shown.length === 0 && <p>{t.datasets.none}</p>}
        {shown.length > 0 && <DatasetTable datasets={shown} />}
      </div>
    </Page>
  );
}

function DatasetTable({ datasets }: { datasets: DatasetJson[] }) {
  const t = useT();
  const { columns } = t.datasets;
  return (
    <div className="panel">
      <table className="folds">
        <thead>
          <tr>
            <th>{columns.name}</th>
            <th>{columns.verdict}</th>
            <th className="number">{columns.samples}</th>
            <th className="number">{columns.classes}</th>
            <th className="number">{columns.size}</th>
            <th>{columns.created}</th>
          </tr>
        </thead>
        <tbody>
          {datasets.map((dataset) => (
            <Row key={dataset.name} dataset={dataset} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Row({ dataset }: { dataset: DatasetJson }) {
  const t = useT();
  const found = Object.values(dataset.report?.counts ?? {}).reduce((sum, each) => sum + Number(each), 0);
  return (
    <tr>
      <td>
        <Link href={`/datasets/${idOf(dataset.name)}`} className="break">
          {dataset.displayName || idOf(dataset.name)}
        </Link>
        <div className="small muted break">
          {t.datasets.formats[dataset.format ?? "DATASET_FORMAT_UNSPECIFIED"]}
          {dataset.parent && ` · ${t.datasets.parent} ${idOf(dataset.parent)}`}
        </div>
      </td>
      <td>
        <div className="row">
          <DatasetBadge dataset={dataset} />
          <span className="small muted">
            {dataset.state === "DATASET_STATE_VALIDATING"
              ? percent(Number(dataset.validationProgress ?? 0))
              : found > 0 && t.datasets.findingsCount(found)}
          </span>
        </div>
      </td>
      <td className="number" data-label={t.datasets.columns.samples}>
        {dataset.report?.samples ? count(dataset.report.samples) : "–"}
      </td>
      <td className="number" data-label={t.datasets.columns.classes}>
        {dataset.report?.classes?.length ? count(dataset.report.classes.length) : "–"}
      </td>
      <td className="number" data-label={t.datasets.columns.size}>
        {bytes(dataset.sizeBytes)}
      </td>
      <td className="muted">{moment(dataset.createTime)}</td>
    </tr>
  );
}
