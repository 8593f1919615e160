/** A finished model to try: pictures to classify or detect in, questions to answer, prompts to draw. */

import { useEffect, useRef, useState } from "react";

import { post } from "../api/http";
import { percent } from "../format";
import type { ClassifyResponseJson, DetectResponseJson, DetectionJson } from "../gen/tuneyard/v1/inference_service_pb";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { useT } from "../i18n";
import { kindOfJob } from "../job";
import { Failure } from "../ui/parts";
import { Chat } from "./try-chat";
import { Generate } from "./try-generate";

export function TryIt({ job }: { job: JobJson }) {
  const t = useT();
  if (job.state !== "JOB_STATE_SUCCEEDED") return <p className="muted">{t.job.tryLater}</p>;
  switch (kindOfJob(job)) {
    case "image_classifier":
    case "object_detector":
      return <Pictures job={job} detects={kindOfJob(job) === "object_detector"} />;
    case "language_model":
    case "merge":
      return <Chat job={job} />;
    case "text_to_image_lora":
      return <Generate job={job} />;
    default:
      return <p className="muted">{t.job.notTriable}</p>;
  }
}

const asBase64 = (file: File) =>
  new Promise<string>((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result).split(",")[1] ?? "");
    reader.onerror = () => reject(reader.error ?? new Error("unreadable"));
    reader.readAsDataURL(file);
  });

function Pictures({ job, detects }: { job: JobJson; detects: boolean }) {
  const t = useT();
  const [file, setFile] = useState<File | null>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [classes, setClasses] = useState<ClassifyResponseJson | null>(null);
  const [objects, setObjects] = useState<DetectResponseJson | null>(null);
  const [threshold, setThreshold] = useState(0.25);
  const ask = async (chosen: File) => {
    setFile(chosen);
    setBusy(true);
    setError(null);
    try {
      const images = [{ name: chosen.name, content: await asBase64(chosen) }];
      if (detects) setObjects(await post<DetectResponseJson>(`/v1/${job.name}:detect`, { images, minScore: 0.05 }));
      else setClasses(await post<ClassifyResponseJson>(`/v1/${job.name}:classify`, { images }));
    } catch (failed) {
      setError(failed);
    } finally {
      setBusy(false);
    }
  };
  return (
    // Dropping is a second way beside the labelled input.
    // eslint-disable-next-line jsx-a11y/no-static-element-interactions
    <div
      className="stack"
      onDragOver={(event) => event.preventDefault()}
      onDrop={(event) => {
        event.preventDefault();
        const dropped = event.dataTransfer.files[0];
        if (dropped) void ask(dropped);
      }}
    >
      <label className="drop">
        <input
          type="file"
          accept="image/*"
          className="visually-hidden"
          onChange={(event) => {
            const chosen = event.target.files?.[0];
            if (chosen) void ask(chosen);
            // The same picture can be chosen again.
            event.target.value = "";
          }}
        />
        {t.job.choosePicture}
      </label>
      {file && !detects && <Shown file={file} />}
      {busy && <p role="status">{t.job.asking}</p>}
      {error !== null && <Failure error={error} />}
      {file && !detects && classes && (
        <table>
          <tbody>
            {classes.classifications?.[0]?.scores?.map((score) => (
              <tr key={score.label}>
                <td>{score.label}</td>
                <td className="number">{percent(Number(score.score ?? 0), 1)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {file && detects && objects && (
        <>
          <label className="row">
            {t.job.threshold}
            <input type="range" min={0.05} max={0.95} step={0.05} value={threshold} onChange={(event) => setThreshold(Number(event.target.value))} />
            {percent(threshold)}
          </label>
          <Boxes file={file} detections={(objects.images?.[0]?.detections ?? []).filter((each) => Number(each.score ?? 0) >= threshold)} />
        </>
      )}
    </div>
  );
}

/** The picture that was asked about. */
function Shown({ file }: { file: File }) {
  const image = useRef<HTMLImageElement>(null);
  useEffect(() => {
    const url = URL.createObjectURL(file);
    if (image.current) image.current.src = url;
    return () => URL.revokeObjectURL(url);
  }, [file]);
  return <img ref={image} className="picture shown" alt={file.name} />;
}

function Boxes({ file, detections }: { file: File; detections: DetectionJson[] }) {
  const t = useT();
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    let current = true;
    void createImageBitmap(file, { imageOrientation: "from-image" }).then((picture) => {
      const element = canvas.current;
      const context = element?.getContext("2d");
      if (!current || !element || !context) return;
      element.width = picture.width;
      element.height = picture.height;
      context.drawImage(picture, 0, 0);
      const unit = Math.max(picture.width, picture.height) / 400;
      context.lineWidth = 2 * unit;
      context.font = `${14 * unit}px system-ui`;
      for (const each of detections) {
        const [x, y] = [Number(each.xMin ?? 0), Number(each.yMin ?? 0)];
        context.strokeStyle = context.fillStyle = "#1f5fcc";
        context.strokeRect(x, y, Number(each.xMax ?? 0) - x, Number(each.yMax ?? 0) - y);
        const label = `${each.label} ${percent(Number(each.score ?? 0))}`;
        context.fillRect(x, y - 18 * unit, context.measureText(label).width + 8 * unit, 18 * unit);
        context.fillStyle = "#fff";
        context.fillText(label, x + 4 * unit, y - 4 * unit);
      }
    });
    return () => {
      current = false;
    };
  }, [file, detections]);
  const told = detections.map((each) => `${each.label} ${percent(Number(each.score ?? 0))}`).join(", ");
  return (
    <>
      <canvas ref={canvas} className="picture" aria-label={told || t.job.nothingFound} />
      <p>{told || t.job.nothingFound}</p>
    </>
  );
}
