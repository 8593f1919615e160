/** What the model makes at each evaluation: pictures, and answers of base and tuned model side by side. */

import { useEffect, useState } from "react";

import { artifactUrl } from "../api/http";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { count } from "../format";
import { useT } from "../i18n";
import { isTaken } from "../keys";
import { Button } from "../ui/parts";
import { WhatItIs } from "./artifacts";
import type { JobView } from "./store";

export function Samples({ view, job }: { view: JobView; job: JobJson }) {
  const t = useT();
  const steps = [...new Set(view.samples.map((each) => each.step))].sort((a, b) => b - a);
  const [chosen, setChosen] = useState<number | null>(null);
  const step = chosen ?? steps[0];
  const at = step === undefined ? -1 : steps.indexOf(step);
  const go = (to: number) => {
    if (to >= 0 && to < steps.length) setChosen(to === 0 ? null : steps[to]!);
  };
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (isTaken(event)) return;
      if (event.key === "ArrowLeft") go(at + 1);
      if (event.key === "ArrowRight") go(at - 1);
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  });
  if (step === undefined) return <p className="muted">{t.job.noSamples}</p>;
  return (
    <div className="stack">
      <div className="row" role="group" aria-label={t.job.tabs.samples}>
        <Button disabled={at >= steps.length - 1} onClick={() => go(at + 1)}>
          ← {t.job.earlier}
        </Button>
        <Button disabled={at <= 0} onClick={() => go(at - 1)}>
          {t.job.later} →
        </Button>
        <span>
          {t.job.atStep(count(step))}
          {chosen === null && ` · ${t.job.latest}`}
        </span>
      </div>
      {steps.length > 1 && (
        <ul className="strip" aria-label={t.job.newSteps}>
          {steps.map((each, index) => (
            <li key={each}>
              <button type="button" aria-current={each === step ? "true" : undefined} onClick={() => go(index)}>
                <Thumbnail view={view} job={job} step={each} />
                {count(each)}
              </button>
            </li>
          ))}
        </ul>
      )}
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
                <figcaption>
                  <WhatItIs path={sample.artifactPath} told={sample.title} />
                </figcaption>
                <img src={artifactUrl(job.name, sample.artifactPath)} alt={`${t.job.artifactOf(sample.artifactPath ?? "") ?? sample.title ?? ""}, ${t.job.atStep(count(step))}`} loading="lazy" />
              </figure>
            ),
          )}
      </div>
    </div>
  );
}

/** The first picture of a step, small; it is loaded when it comes into view. */
function Thumbnail({ view, job, step }: { view: JobView; job: JobJson; step: number }) {
  const picture = view.samples.find((each) => each.step === step && each.sample.artifactPath && !each.sample.text)?.sample;
  return picture && <img src={artifactUrl(job.name, picture.artifactPath)} alt="" loading="lazy" />;
}

function Answer({ title, text }: { title: string; text: string | undefined }) {
  return (
    <div>
      <div className="small muted">{title}</div>
      {text}
    </div>
  );
}
