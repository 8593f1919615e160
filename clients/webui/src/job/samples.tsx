/** What the model makes at each evaluation: pictures, and answers of base and tuned model side by side. */

import { useState } from "react";

import { artifactUrl } from "../api/http";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { useT } from "../i18n";
import type { JobView } from "./store";

export function Samples({ view, job }: { view: JobView; job: JobJson }) {
  const t = useT();
  const steps = [...new Set(view.samples.map((each) => each.step))].sort((a, b) => b - a);
  const [chosen, setChosen] = useState<number | null>(null);
  const step = chosen ?? steps[0];
  if (step === undefined) return <p className="muted">{t.job.noSamples}</p>;
  const at = steps.indexOf(step);
  return (
    <div className="stack">
      <div className="row" role="group" aria-label={t.job.tabs.samples}>
        <button type="button" className="button" disabled={at >= steps.length - 1} onClick={() => setChosen(steps[at + 1] ?? null)}>
          ← {t.job.earlier}
        </button>
        <span>
          {t.job.atStep(step)}
          {chosen === null && ` · ${t.job.latest}`}
        </span>
        <button type="button" className="button" disabled={at <= 0} onClick={() => setChosen(at <= 1 ? null : steps[at - 1]!)}>
          {t.job.later} →
        </button>
      </div>
      <div className="samples">
        {view.samples
          .filter((each) => each.step === step)
          .map(({ sequence, sample }) =>
            sample.text ? (
              <article key={sequence} className="stack">
                <h3 className="break">{sample.text.prompt}</h3>
                <div className="answers">
                  <Answer title={t.job.tuned} text={sample.text.tuned} />
                  {sample.text.base && <Answer title={t.job.base} text={sample.text.base} />}
                  {sample.text.reference && <Answer title={t.job.expected} text={sample.text.reference} />}
                </div>
              </article>
            ) : (
              <figure key={sequence} className="stack">
                <figcaption>{sample.title}</figcaption>
                <img src={artifactUrl(job.name, sample.artifactPath)} alt={`${sample.title ?? ""}, ${t.job.atStep(step)}`} loading="lazy" />
              </figure>
            ),
          )}
      </div>
    </div>
  );
}

function Answer({ title, text }: { title: string; text: string | undefined }) {
  return (
    <div>
      <div className="small muted">{title}</div>
      {text}
    </div>
  );
}
