/** The dataset of a training: a file to upload, one that is here, or a folder of the server; and what its check found. */

import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { Link } from "wouter";

import { ApiError, idOf, post, newId } from "../api/http";
import { uploads, useUploads } from "../api/upload";
import { count, percent } from "../format";
import type { ImportDatasetResponseJson } from "../gen/tuneyard/v1/dataset_service_pb";
import type { DatasetJson, FindingJson } from "../gen/tuneyard/v1/dataset_pb";
import { ownMessage } from "../dataset/findings";
import { useT } from "../i18n";
import type { Messages } from "../i18n/en";
import { Button, Failure, Loading, Progress } from "../ui/parts";
import { useDataset, useDatasets } from "./queries";
import { TASK_OF, type Task } from "./tasks";
import { UploadRow } from "./upload-row";
import { elementId } from "./words";

interface Props {
  task: Task;
  value: string;
  violation?: string | undefined;
  onChange: (dataset: string) => void;
  /** Given the file itself, for a look into it. */
  onFile: (file: File) => void;
}

export function DatasetChoice({ task, value, violation, onChange, onFile }: Props) {
  const t = useT();
  const words = t.training.datasets;
  const { format, endings } = TASK_OF[task];
  const [refusal, setRefusal] = useState("");
  const [key, setKey] = useState("");
  const all = useUploads();
  const current = all.find((upload) => upload.key === key) ?? all.find((upload) => upload.dataset && upload.dataset === value);
  const rest = all.filter((upload) => upload.format === format && upload.state !== "arrived" && upload !== current);
  const take = (files: FileList | null | undefined) => {
    const file = files?.[0];
    if (!file || !files) return;
    const refused = whyNot(file, files.length, endings, words);
    setRefusal(refused);
    if (refused) return;
    onFile(file);
    setKey(uploads.start(file, format));
  };
  // Once the server has named the dataset, the draft holds it.
  const arriving = current?.key === key ? current.dataset : "";
  useEffect(() => {
    if (arriving && arriving !== value) onChange(arriving);
  }, [arriving, value, onChange]);
  const isDragging = useDrop(take);
  const choosesOther = () => {
    setKey("");
    setRefusal("");
    onChange("");
  };
  return (
    <div className="stack tight">
      {value || current ? (
        <div className="panel stack tight">
          {current && current.state !== "arrived" ? (
            <UploadRow upload={current} onFile={take} onGone={choosesOther} />
          ) : (
            <>
              <Chosen name={value} onOther={choosesOther} />
              {current?.wasHere && <p className="small muted">{t.datasets.wasHere}</p>}
            </>
          )}
        </div>
      ) : (
        <>
          <label className={`train-drop ${isDragging ? "over" : ""}`}>
            <span className="button">{words.chooseFile}</span>
            <span className="text-2">{isDragging ? words.dropNow : words.drop[format]}</span>
            <input
              id={elementId("dataset")}
              className="visually-hidden"
              type="file"
              accept={endings.join(",")}
              aria-invalid={violation !== undefined}
              aria-describedby={`${elementId("dataset")}-note`}
              onChange={(event) => {
                take(event.target.files);
                event.target.value = "";
              }}
            />
          </label>
          <Existing task={task} onChange={onChange} />
        </>
      )}
      {rest.map((upload) => (
        <div key={upload.key} className="panel">
          <UploadRow upload={upload} onFile={take} onGone={() => undefined} />
        </div>
      ))}
      {(refusal || violation) && (
        <p id={`${elementId("dataset")}-note`} className="small violation" role={refusal ? "alert" : undefined}>
          {refusal || violation}
        </p>
      )}
    </div>
  );
}

function whyNot(
  file: File,
  files: number,
  endings: readonly string[],
  words: { oneFile: string; wrongType: (name: string, endings: string) => string; emptyFile: (name: string) => string },
): string {
  if (files > 1) return words.oneFile;
  if (!endings.some((ending) => file.name.toLowerCase().endsWith(ending))) return words.wrongType(file.name, endings.join(" "));
  return file.size === 0 ? words.emptyFile(file.name) : "";
}

/** The whole page takes a dropped file; whether one is held over it. */
function useDrop(onFiles: (files: FileList | null | undefined) => void): boolean {
  const [depth, setDepth] = useState(0);
  const handler = useRef(onFiles);
  useEffect(() => {
    handler.current = onFiles;
  });
  useEffect(() => {
    const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const enter = (event: DragEvent) => hasFiles(event) && setDepth((now) => now + 1);
    const leave = (event: DragEvent) => hasFiles(event) && setDepth((now) => Math.max(0, now - 1));
    const over = (event: DragEvent) => hasFiles(event) && event.preventDefault();
    const drop = (event: DragEvent) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      setDepth(0);
      handler.current(event.dataTransfer?.files);
    };
    const events = [["dragenter", enter], ["dragleave", leave], ["dragover", over], ["drop", drop]] as const;
    for (const [name, listener] of events) addEventListener(name, listener);
    return () => {
      for (const [name, listener] of events) removeEventListener(name, listener);
    };
  }, []);
  return depth > 0;
}

function Existing({ task, onChange }: { task: Task; onChange: (dataset: string) => void }) {
  const t = useT();
  const words = t.training.datasets;
  const { format } = TASK_OF[task];
  const found = useDatasets(format);
  const datasets = found.data?.datasets?.filter((dataset) => dataset.state !== "DATASET_STATE_UPLOADING") ?? [];
  const said = (dataset: DatasetJson) =>
    dataset.state === "DATASET_STATE_INVALID" ? ` (${t.training.datasets.severity["SEVERITY_ERROR"]})` : "";
  return (
    <>
      {found.isError && !found.data && <Failure error={found.error} what={words.listFailed} retry={() => void found.refetch()} />}
      <div className="row existing">
        <label className="row grow">
          <span className="small muted">{words.existing}</span>
          <select className="input grow" value="" onChange={(event) => onChange(event.target.value)} disabled={datasets.length === 0}>
            <option value="">{found.data && datasets.length === 0 ? words.noneYet : words.choose}</option>
            {datasets.map((dataset) => (
              <option key={dataset.name} value={dataset.name}>
                {dataset.displayName || idOf(dataset.name)} · {words.samples(count(dataset.report?.samples))}
                {said(dataset)}
              </option>
            ))}
          </select>
        </label>
        <Import task={task} onChange={onChange} />
      </div>
    </>
  );
}

function Import({ task, onChange }: { task: Task; onChange: (dataset: string) => void }) {
  const t = useT();
  const words = t.training.datasets;
  const [source, setSource] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const queries = useQueryClient();
  const bring = async () => {
    setBusy(true);
    setError(null);
    try {
      const body = { source: source.trim(), format: TASK_OF[task].format, requestId: newId() };
      const { dataset } = await post<ImportDatasetResponseJson>("/v1/datasets:import", body);
      await queries.invalidateQueries({ queryKey: ["datasets"] });
      onChange(dataset?.name ?? "");
    } catch (failed) {
      setError(failed);
    } finally {
      setBusy(false);
    }
  };
  return (
    <details className="import">
      <summary className="small">{words.folder}</summary>
      <div className="stack tight">
        <label className="field">
          <span className="small">{words.folderLabel}</span>
          <input className="input" value={source} onChange={(event) => setSource(event.target.value)} />
          <span className="hint">{words.folderHint}</span>
        </label>
        <p>
          <Button busy={busy} disabled={!source.trim() || busy} onClick={() => void bring()}>
            {words.import}
          </Button>
        </p>
        {error instanceof ApiError && <p className="small violation" role="alert">{error.problem.detail}</p>}
      </div>
    </details>
  );
}

function Chosen({ name, onOther }: { name: string; onOther: () => void }) {
  const t = useT();
  const words = t.training.datasets;
  const { data: dataset, isPending, error, refetch } = useDataset(name);
  const report = dataset?.report;
  return (
    <>
      <div className="row spread">
        <span className="break">
          <Link href={`/datasets/${idOf(name)}`}>{dataset?.displayName || idOf(name)}</Link>
          {report && (
            <span className="muted">
              {" "}
              · {words.samples(count(report.samples))}
              {report.classes?.length ? ` · ${words.classes(report.classes.length)}` : ""}
            </span>
          )}
        </span>
        <button type="button" className="textlink" id={elementId("dataset")} onClick={onOther}>
          {words.other}
        </button>
      </div>
      {isPending && <Loading lines={1} />}
      {error && !dataset && <Failure error={error} retry={() => void refetch()} />}
      {dataset?.state === "DATASET_STATE_UPLOADING" && <p className="small muted">{words.waitsForBytes}</p>}
      {dataset?.state === "DATASET_STATE_VALIDATING" && (
        <>
          <Progress value={dataset.validationProgress ? Number(dataset.validationProgress) : 0} label={t.training.dataset} />
          <p className="small muted">{words.checking(percent(Number(dataset.validationProgress ?? 0)))}</p>
        </>
      )}
      {report && dataset && <Verdict dataset={dataset} />}
    </>
  );
}

const SHOWN = 3;
const LOOKS: Record<string, string> = { SEVERITY_ERROR: "error", SEVERITY_WARNING: "warning" };

/** In the reader's language: from the finding's figures, else by its code alone. */
function messageOf(t: Messages, finding: FindingJson): string {
  const { codes, messages, remedies } = t.datasets;
  const code = finding.code ?? "";
  const own = ownMessage(finding, messages);
  if (own) return own;
  return remedies[code] && codes[code] ? `${codes[code]}${t.training.fullStop}` : (finding.message ?? "");
}

/** What the check found, by code: how often, one example, what to do. */
function Verdict({ dataset }: { dataset: DatasetJson }) {
  const t = useT();
  const words = t.training.datasets;
  const findings = dataset.report?.findings ?? [];
  const of = (severity: string) => findings.filter((finding) => finding.severity === severity).length;
  const isUsable = dataset.state === "DATASET_STATE_READY";
  const codes = [...new Map(findings.map((finding) => [finding.code, finding])).keys()];
  return (
    <div className="stack tight" role="status">
      <p>
        <span className={`badge ${isUsable ? "succeeded" : "failed"}`}>
          {!isUsable ? words.unusable(of("SEVERITY_ERROR")) : of("SEVERITY_WARNING") ? words.readyWarnings(of("SEVERITY_WARNING")) : words.ready}
        </span>
      </p>
      {codes.length > 0 && (
        <ul className="findings small">
          {codes.slice(0, SHOWN).map((code) => {
            const first = findings.find((finding) => finding.code === code)!;
            const often = Number(dataset.report?.counts?.[code ?? ""] ?? 1);
            const said = messageOf(t, first);
            const isTold = said.includes(first.path ?? "");
            const where = Number(first.line ?? 0) ? words.line(first.path ?? "", String(first.line)) : isTold ? "" : first.path;
            return (
              <li key={code} className="break">
                <span className={`severity ${LOOKS[first.severity ?? ""] ?? ""}`}>
                  {words.severity[first.severity ?? ""]}
                </span>{" "}
                {often > 1 && <span className="muted">{words.times(count(often))} </span>}
                {where && <span className="mono">{where}: </span>}
                {said} <span className="muted">{t.datasets.remedies[first.code ?? ""] ?? first.remedy}</span>
              </li>
            );
          })}
        </ul>
      )}
      {codes.length > 0 && (
        <p className="small">
          <Link href={`/datasets/${idOf(dataset.name)}`}>
            {words.all}
            {codes.length > SHOWN && ` (${words.more(codes.length - SHOWN)})`}
          </Link>
        </p>
      )}
    </div>
  );
}
