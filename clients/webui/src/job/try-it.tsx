/** A finished model to try: pictures to classify or detect in, questions to answer. */

import { useEffect, useRef, useState } from "react";

import { ApiError, post, problemOf } from "../api/http";
import { EventParser } from "../api/stream";
import { percent } from "../format";
import type { ClassifyResponseJson, DetectResponseJson, DetectionJson, GenerateTextResponseJson } from "../gen/tuneyard/v1/inference_service_pb";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { useT } from "../i18n";
import { kindOfJob } from "../job";
import { Button, Failure } from "../ui/parts";

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
      <label className="field">
        <span>{t.job.choosePicture}</span>
        <input
          type="file"
          accept="image/*"
          onChange={(event) => {
            const chosen = event.target.files?.[0];
            if (chosen) void ask(chosen);
          }}
        />
      </label>
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

interface Turn {
  role: "user" | "assistant";
  content: string;
  base?: string;
}

function Chat({ job }: { job: JobJson }) {
  const t = useT();
  const [turns, setTurns] = useState<Turn[]>([]);
  const [text, setText] = useState("");
  const [compare, setCompare] = useState(true);
  const [error, setError] = useState<unknown>(null);
  const [running, setRunning] = useState<AbortController | null>(null);
  const hasBase = kindOfJob(job) === "language_model";
  const ask = async () => {
    const question: Turn = { role: "user", content: text };
    const said = [...turns, question];
    const controller = new AbortController();
    setTurns([...said, { role: "assistant", content: "" }]);
    setText("");
    setError(null);
    setRunning(controller);
    try {
      await answer(job, said, hasBase && compare, controller.signal, (tuned, base) =>
        setTurns([...said, { role: "assistant", content: tuned, ...(base ? { base } : {}) }]),
      );
    } catch (failed) {
      if (!controller.signal.aborted) setError(failed);
    } finally {
      setRunning(null);
    }
  };
  return (
    <div className="talk">
      {turns.map((turn, index) => (
        <div key={index} className={`turn ${turn.role}`}>
          {turn.base ? (
            <div className="answers">
              <div>
                <div className="small muted">{t.job.tuned}</div>
                {turn.content}
              </div>
              <div>
                <div className="small muted">{t.job.base}</div>
                {turn.base}
              </div>
            </div>
          ) : (
            turn.content || "…"
          )}
        </div>
      ))}
      {error !== null && <Failure error={error} />}
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          if (text.trim() && !running) void ask();
        }}
      >
        <label className="field">
          <span>{t.job.question}</span>
          <textarea className="input" rows={3} value={text} onChange={(event) => setText(event.target.value)} />
        </label>
        <div className="row">
          <button type="submit" className="button primary" disabled={!text.trim() || running !== null}>
            {t.job.ask}
          </button>
          {running && <Button onClick={() => running.abort()}>{t.job.stop}</Button>}
          {turns.length > 0 && <Button onClick={() => setTurns([])}>{t.job.startOver}</Button>}
          {hasBase && (
            <label className="row">
              <input type="checkbox" checked={compare} onChange={(event) => setCompare(event.target.checked)} />
              {t.job.besideBase}
            </label>
          )}
        </div>
      </form>
    </div>
  );
}

async function answer(
  job: JobJson,
  turns: readonly Turn[],
  compare: boolean,
  signal: AbortSignal,
  onText: (tuned: string, base: string) => void,
): Promise<void> {
  const response = await fetch(`/v1/${job.name}:generateText`, {
    method: "POST",
    signal,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({
      messages: turns.map(({ role, content }) => ({ role, content })),
      compareWithBase: compare,
    }),
  });
  if (!response.ok || !response.body) throw new ApiError(await problemOf(response));
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let tuned = "";
  let base = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    for (const event of parser.push(decoder.decode(value, { stream: true }))) {
      if (!event.data || event.event === "end") continue;
      const told = JSON.parse(event.data) as GenerateTextResponseJson & { detail?: string };
      if (event.event === "error") throw new ApiError({ title: "", status: 500, detail: told.detail ?? "" });
      if (told.fromBase) base += told.text ?? "";
      else tuned += told.text ?? "";
    }
    onText(tuned, base);
  }
}
