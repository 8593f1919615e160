/** A text-to-image model to draw with: prompt, seed, and how strongly the LoRA weights work. */

import { useState, type FormEvent } from "react";

import { post } from "../api/http";
import type { GeneratedImageJson, GenerateImagesResponseJson } from "../gen/tuneyard/v1/inference_service_pb";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { useT } from "../i18n";
import { Failure } from "../ui/parts";

export function Generate({ job }: { job: JobJson }) {
  const t = useT();
  const training = job.spec?.training?.textToImageLora;
  const [prompt, setPrompt] = useState(training?.validationPrompts?.[0] ?? training?.instancePrompt ?? "");
  const [avoid, setAvoid] = useState("");
  const [seed, setSeed] = useState("");
  const [strength, setStrength] = useState(1);
  const [wanted, setWanted] = useState(1);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [drawn, setDrawn] = useState<{ prompt: string; images: readonly GeneratedImageJson[] }>({ prompt: "", images: [] });
  const draw = async (event: FormEvent) => {
    event.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const body = { prompt, negativePrompt: avoid, loraScale: strength, count: wanted, ...(seed ? { seed } : {}) };
      const told = await post<GenerateImagesResponseJson>(`/v1/${job.name}:generateImages`, body);
      setDrawn({ prompt, images: told.images ?? [] });
    } catch (failed) {
      setError(failed);
    } finally {
      setBusy(false);
    }
  };
  return (
    <form className="stack talk" onSubmit={(event) => void draw(event)}>
      <label className="field">
        <span>{t.job.prompt}</span>
        <textarea className="input" rows={2} required value={prompt} onChange={(event) => setPrompt(event.target.value)} />
      </label>
      <label className="field">
        <span>{t.job.negativePrompt}</span>
        <input className="input" value={avoid} onChange={(event) => setAvoid(event.target.value)} />
      </label>
      <div className="row">
        <label className="row">
          {t.job.seed}
          <input
            className="input number-input"
            inputMode="numeric"
            placeholder="–"
            aria-describedby="seed-hint"
            value={seed}
            onChange={(event) => setSeed(event.target.value.replace(/\D/g, ""))}
          />
        </label>
        <label className="row">
          {t.job.pictures}
          <input
            className="input number-input"
            type="number"
            min={1}
            max={16}
            value={wanted}
            onChange={(event) => setWanted(Number(event.target.value))}
          />
        </label>
        <label className="row">
          {t.job.loraScale}
          <input type="range" min={0} max={2} step={0.05} value={strength} onChange={(event) => setStrength(Number(event.target.value))} />
          <span className="smoothing">{strength.toFixed(2)}</span>
        </label>
      </div>
      <p className="small muted" id="seed-hint">
        {t.job.seedHint}
      </p>
      <p className="row">
        <button type="submit" className="button primary" disabled={busy || !prompt.trim()}>
          {t.job.draw}
        </button>
        <span role="status">{busy ? t.job.drawing : drawn.images.length > 0 && t.job.drawn(drawn.images.length)}</span>
      </p>
      {error !== null && <Failure error={error} />}
      <div className="drawn">
        {drawn.images.map((image, index) => {
          const address = `data:image/png;base64,${base64(image.png)}`;
          const title = t.job.drawnWith(String(image.seed ?? 0));
          return (
            <figure key={index} className="stack tight">
              <img src={address} alt={drawn.prompt} />
              <figcaption className="small muted row">
                {title}
                <a href={address} download={`${String(image.seed ?? 0)}.png`}>
                  {t.actions.download}
                  <span className="visually-hidden"> {title}</span>
                </a>
              </figcaption>
            </figure>
          );
        })}
      </div>
    </form>
  );
}

/** Proto3 JSON may write bytes in the alphabet for addresses. */
const base64 = (bytes: unknown) => String(bytes ?? "").replaceAll("-", "+").replaceAll("_", "/");
