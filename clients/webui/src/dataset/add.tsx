/** Bringing a dataset here: a file from this machine, or a place that the server reads; and what is on its way. */

import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link, useLocation } from "wouter";

import { idOf, post, newId } from "../api/http";
import { uploads, useUploads, type Upload } from "../api/upload";
import { bytes, percent } from "../format";
import type { DatasetFormatJson } from "../gen/tuneyard/v1/dataset_pb";
import type { ImportDatasetResponseJson } from "../gen/tuneyard/v1/dataset_service_pb";
import { useT } from "../i18n";
import { Button, Failure, Progress } from "../ui/parts";

const FORMATS: readonly DatasetFormatJson[] = [
  "DATASET_FORMAT_IMAGE_FOLDER",
  "DATASET_FORMAT_YOLO",
  "DATASET_FORMAT_CAPTIONED_IMAGES",
  "DATASET_FORMAT_JSONL",
];
const LINES = /\.(jsonl|ndjson|json)(\.gz)?$/i;

export function AddDataset() {
  const t = useT();
  const [format, setFormat] = useState<DatasetFormatJson>("DATASET_FORMAT_IMAGE_FOLDER");
  const take = (files: FileList | null) => {
    for (const file of files ?? []) uploads.start(file, LINES.test(file.name) ? "DATASET_FORMAT_JSONL" : format);
  };
  return (
    // Dropping is a second way beside the labelled input.
    // eslint-disable-next-line jsx-a11y/no-noninteractive-element-interactions
    <section
      className="panel stack"
      aria-label={t.datasets.addTitle}
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault();
        take(event.dataTransfer.files);
      }}
    >
      <h2>{t.datasets.addTitle}</h2>
      <div className="field">
        <label htmlFor="add-format">{t.datasets.format}</label>
        <select
          id="add-format"
          className="input"
          value={format}
          aria-describedby="add-format-hint"
          onChange={(event) => setFormat(event.target.value as DatasetFormatJson)}
        >
          {FORMATS.map((each) => (
            <option key={each} value={each}>
              {t.datasets.formats[each]}
            </option>
          ))}
        </select>
        <span className="hint" id="add-format-hint">
          {t.datasets.formatHints[format]}
        </span>
      </div>
      <label className="drop">
        <input
          type="file"
          multiple
          className="visually-hidden"
          onChange={(event) => {
            take(event.target.files);
            // The same file can be chosen again.
            event.target.value = "";
          }}
        />
        {t.datasets.chooseFile}
      </label>
      <ImportForm format={format} />
    </section>
  );
}

function ImportForm({ format }: { format: DatasetFormatJson }) {
  const t = useT();
  const [, go] = useLocation();
  const [source, setSource] = useState("");
  const [error, setError] = useState<unknown>(null);
  const start = async () => {
    setError(null);
    try {
      const body = { format, source, requestId: newId() };
      const told = await post<ImportDatasetResponseJson>("/v1/datasets:import", body);
      go(`/datasets/${idOf(told.dataset?.name)}`);
    } catch (failed) {
      setError(failed);
    }
  };
  return (
    <details>
      <summary>{t.datasets.orImport}</summary>
      <form
        className="stack spaced-top"
        onSubmit={(event) => {
          event.preventDefault();
          void start();
        }}
      >
        <div className="field">
          <label htmlFor="import-source">{t.datasets.source}</label>
          <input
            id="import-source"
            className="input"
            required
            value={source}
            aria-describedby="import-source-hint"
            onChange={(event) => setSource(event.target.value)}
          />
          <span className="hint" id="import-source-hint">
            {t.datasets.sourceHint}
          </span>
        </div>
        {error !== null && <Failure error={error} />}
        <p>
          <Button type="submit">{t.datasets.import}</Button>
        </p>
      </form>
    </details>
  );
}

/** What is on its way, also when it was begun on another page or before a reload. */
export function Uploading() {
  const list = useUploads();
  const cache = useQueryClient();
  const [seen, setSeen] = useState(0);
  const arrived = list.filter((each) => each.state === "arrived").length;
  if (arrived !== seen) {
    setSeen(arrived);
    void cache.invalidateQueries({ queryKey: ["datasets"] });
  }
  const told = list.filter((each) => each.state !== "arrived" || each.wasHere);
  return told.map((upload) =>
    upload.state === "arrived" ? <WasHere key={upload.key} upload={upload} /> : <OnItsWay key={upload.key} upload={upload} />,
  );
}

function WasHere({ upload }: { upload: Upload }) {
  const t = useT();
  return (
    <section className="panel row spread" role="status">
      <span className="break">
        <Link href={`/datasets/${idOf(upload.dataset)}`}>{upload.fileName}</Link> <span className="muted">{t.datasets.wasHere}</span>
      </span>
      <Button onClick={() => void uploads.dismiss(upload.key)}>{t.models.putAway}</Button>
    </section>
  );
}

function OnItsWay({ upload }: { upload: Upload }) {
  const t = useT();
  const { key, state } = upload;
  const share = upload.sent / Math.max(1, upload.size);
  return (
    <section className="panel stack" aria-label={upload.fileName}>
      <div className="row spread">
        <span className="break">
          {upload.dataset ? <Link href={`/datasets/${idOf(upload.dataset)}`}>{upload.fileName}</Link> : upload.fileName}{" "}
          <span className="muted">{t.datasets.uploadStates[state]}</span>
        </span>
        <span className="row">
          {(state === "sending" || state === "waiting") && (
            <Button onClick={() => uploads.pause(key)}>{t.datasets.pauseUpload}</Button>
          )}
          {state === "paused" && <Button onClick={() => uploads.resume(key)}>{t.datasets.resumeUpload}</Button>}
          {state === "lost" && (
            <label className="button">
              <input
                type="file"
                className="visually-hidden"
                onChange={(event) => {
                  const file = event.target.files?.[0];
                  if (file) uploads.start(file, upload.format);
                }}
              />
              {t.datasets.resumeUpload}
            </label>
          )}
          <Button onClick={() => void uploads.dismiss(key)}>{t.datasets.dropUpload}</Button>
        </span>
      </div>
      <Progress value={share} label={upload.fileName} />
      {state === "sending" && <span className="small muted">{t.datasets.sending(percent(share), bytes(upload.rate))}</span>}
      {upload.error && <Failure error={upload.error} />}
    </section>
  );
}
