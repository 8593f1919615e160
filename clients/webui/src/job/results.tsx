/** The buttons of a finished job: the guide's exports, evaluation, and conversion to other formats. */

import { useEffect, useId, useRef, useState } from "react";
import { Link, useLocation } from "wouter";

import { ApiError, idOf, newId, post } from "../api/http";
import type { ExportFormatJson, JobJson } from "../gen/tuneyard/v1/job_pb";
import type { MergeResponseJson } from "../gen/tuneyard/v1/training_service_pb";
import { useT } from "../i18n";
import { jobTitle, kindOfJob, type JobKind } from "../job";
import type { Task } from "../train/tasks";
import { Button, Failure } from "../ui/parts";
import { Evaluation } from "./evaluation";

/** What each kind of model can be converted to. */
const FORMATS: Partial<Record<JobKind, readonly ExportFormatJson[]>> = {
  image_classifier: ["EXPORT_FORMAT_ONNX", "EXPORT_FORMAT_TORCHSCRIPT", "EXPORT_FORMAT_SAFETENSORS"],
  object_detector: ["EXPORT_FORMAT_ONNX", "EXPORT_FORMAT_TORCHSCRIPT", "EXPORT_FORMAT_SAFETENSORS", "EXPORT_FORMAT_ULTRALYTICS"],
  text_to_image_lora: ["EXPORT_FORMAT_KOHYA", "EXPORT_FORMAT_ADAPTER"],
};

export function Results({ job }: { job: JobJson }) {
  const t = useT();
  const [, navigate] = useLocation();
  const [error, setError] = useState<unknown>(null);
  const [asked, setAsked] = useState<"export" | "evaluate" | "">("");
  const [busy, setBusy] = useState(false);
  const formats = FORMATS[kindOfJob(job) ?? "merge"];
  const spec = (job.resolvedSpec ?? job.spec)?.training;
  const method = spec?.languageModel?.method;
  const hasAdapter = spec?.languageModel && method !== "FINE_TUNING_METHOD_FULL";
  const make = async (verb: "merge" | "evaluate" | "export", more: object = {}) => {
    // A second press makes no second job.
    if (busy) return;
    setBusy(true);
    setError(null);
    try {
      const labels = { name: `${t.kinds[verb]} · ${jobTitle(t, job)}`.slice(0, 200) };
      const body = { spec: { sourceJob: job.name, ...more }, requestId: newId(), labels };
      navigate(`/jobs/${idOf((await post<MergeResponseJson>(`/v1/jobs:${verb}`, body)).job?.name)}`);
    } catch (failed) {
      if (!(failed instanceof ApiError)) throw failed;
      setError(failed);
    } finally {
      setBusy(false);
    }
  };
  return (
    <div className="row">
      {hasAdapter && (
        <>
          <a className="button primary" href={`/api/llm-finetuning/export/${idOf(job.name)}`}>
            {t.job.exportAdapter}
          </a>
          <Button onClick={() => void make("merge")}>{t.job.merge}</Button>
        </>
      )}
      <a className={`button${hasAdapter ? "" : " primary"}`} href={`/v1/${job.name}/artifacts:download`}>
        {t.job.downloadAll}
      </a>
      {formats && <Button onClick={() => setAsked("export")}>{t.job.exportAs}</Button>}
      {job.spec?.training && <Button onClick={() => setAsked("evaluate")}>{t.job.evaluate}</Button>}
      {job.spec?.training && (
        <Link className="button" href={`/jobs/${idOf(job.name)}/try`}>
          {t.job.tabs.try}
        </Link>
      )}
      {error !== null && <Failure error={error} />}
      {asked === "export" && formats && (
        <Formats formats={formats} onChoose={(format) => void make("export", { format })} onClose={() => setAsked("")} />
      )}
      {asked === "evaluate" && (
        <Evaluation
          task={kindOfJob(job) as Task}
          training={spec}
          onChoose={(more) => void make("evaluate", more)}
          onClose={() => setAsked("")}
        />
      )}
    </div>
  );
}

function Formats({
  formats,
  onChoose,
  onClose,
}: {
  formats: readonly ExportFormatJson[];
  onChoose: (format: ExportFormatJson) => void;
  onClose: () => void;
}) {
  const t = useT();
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const [chosen, setChosen] = useState(formats[0]!);
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} aria-labelledby={heading} onClose={onClose}>
      <div className="stack">
        <h2 id={heading}>{t.job.exportTitle}</h2>
        <fieldset className="stack tight" aria-labelledby={heading}>
          {formats.map((format) => (
            <label key={format} className="row">
              <input type="radio" name="format" checked={format === chosen} onChange={() => setChosen(format)} />
              {t.job.formats[format]}
            </label>
          ))}
        </fieldset>
        <div className="row">
          <Button
            look="primary"
            onClick={() => {
              onChoose(chosen);
              dialog.current?.close();
            }}
          >
            {t.job.exportGo}
          </Button>
          <Button onClick={() => dialog.current?.close()}>{t.actions.close}</Button>
        </div>
      </div>
    </dialog>
  );
}
