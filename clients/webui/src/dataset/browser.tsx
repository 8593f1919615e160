/** What is in a dataset: pictures as a grid, examples as lines. */

import { useState } from "react";

import { fileUrl, isPicture, useDatasetFiles, useDatasetLines } from "../api/datasets";
import { ApiError } from "../api/http";
import { count } from "../format";
import type { DatasetJson } from "../gen/tuneyard/v1/dataset_pb";
import { useT } from "../i18n";
import { Button, Failure, Loading } from "../ui/parts";

const PAGE = 48;
const MOST = 960;

export function Browser({ dataset }: { dataset: DatasetJson }) {
  return dataset.format === "DATASET_FORMAT_JSONL" ? <LineBrowser dataset={dataset} /> : <Grid dataset={dataset} />;
}

/** A torn or encrypted archive: the findings say so, and trying again changes nothing. */
function cannotBeOpened(dataset: DatasetJson, error: unknown): boolean {
  return dataset.state === "DATASET_STATE_INVALID" && error instanceof ApiError && error.problem.reason === "NOT_SUPPORTED";
}

function Grid({ dataset }: { dataset: DatasetJson }) {
  const t = useT();
  const [prefix, setPrefix] = useState("");
  const [shown, setShown] = useState(PAGE);
  const found = useDatasetFiles(dataset, prefix, shown);
  const files = found.data?.files ?? [];
  const total = Number(found.data?.totalSize ?? 0);
  if (cannotBeOpened(dataset, found.error)) return null;
  return (
    <section className="stack">
      <div className="row spread">
        <h2>
          {t.datasets.browse} <span className="muted">{found.data && count(total)}</span>
        </h2>
        <label className="row small muted">
          {t.datasets.folder}
          <input
            className="input narrow"
            value={prefix}
            onChange={(event) => {
              setPrefix(event.target.value);
              setShown(PAGE);
            }}
          />
        </label>
      </div>
      {found.isPending && <Loading />}
      {found.isError && <Failure error={found.error} retry={() => void found.refetch()} />}
      <ul className="files">
        {files.map(({ path = "" }) => (
          <li key={path}>
            <a href={fileUrl(dataset, path)} target="_blank" rel="noreferrer" title={path}>
              {isPicture(path) ? (
                <img className="thumb" src={fileUrl(dataset, path)} alt="" loading="lazy" decoding="async" />
              ) : (
                <span className="thumb missing" aria-hidden="true">
                  {/\.([A-Za-z0-9]{1,5})$/.exec(path)?.[1]}
                </span>
              )}
              <span className="small">{path}</span>
            </a>
          </li>
        ))}
      </ul>
      {files.length < total && shown < MOST && (
        <p>
          <Button onClick={() => setShown(Math.min(MOST, shown * 2))}>{t.datasets.more}</Button>
        </p>
      )}
    </section>
  );
}

function LineBrowser({ dataset }: { dataset: DatasetJson }) {
  const t = useT();
  const files = useDatasetFiles(dataset, "", 200);
  const [chosen, setChosen] = useState("");
  const [first, setFirst] = useState(1);
  const paths = (files.data?.files ?? []).map(({ path = "" }) => path).filter((path) => /\.(jsonl|ndjson|json)$/i.test(path));
  const path = chosen || paths[0] || "";
  const lines = useDatasetLines(dataset, path, first, 20, Boolean(path));
  if (cannotBeOpened(dataset, files.error)) return null;
  return (
    <section className="stack">
      <div className="row spread">
        <h2>{t.datasets.browseLines}</h2>
        <div className="row">
          {paths.length > 1 && (
            <select className="input narrow" aria-label={t.datasets.browse} value={path} onChange={(event) => setChosen(event.target.value)}>
              {paths.map((each) => (
                <option key={each}>{each}</option>
              ))}
            </select>
          )}
          <label className="row small muted">
            {t.datasets.fromLine}
            <input
              className="input number-input"
              type="number"
              min={1}
              value={first}
              onChange={(event) => setFirst(Math.max(1, Math.floor(Number(event.target.value) || 1)))}
            />
          </label>
        </div>
      </div>
      {(files.isPending || lines.isLoading) && <Loading />}
      {(files.error ?? lines.error) && (
        <Failure error={files.error ?? lines.error} retry={() => void (files.error ? files : lines).refetch()} />
      )}
      {/* It scrolls, so that the keyboard must reach it. */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <ol className="lines" tabIndex={0} aria-label={path}>
        {lines.data?.map((line) => (
          <li key={line.line}>
            <span className="muted">{line.line}</span>
            <span className="break">
              {(line.text ?? "").slice(0, 600)}
              {(line.isCut || (line.text ?? "").length > 600) && <span className="muted"> {t.datasets.cut}</span>}
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}
