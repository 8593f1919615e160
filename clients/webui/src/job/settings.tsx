/** Every setting of the job as it was resolved, those that were given in bold; and ways to ask for the same again. */

import { useState } from "react";
import { Link } from "wouter";

import { idOf } from "../api/http";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { useT } from "../i18n";
import { Button } from "../ui/parts";

type Leaf = [path: string, value: string];

const PREFIXES =
  /^(LEARNING_RATE_SCHEDULE|PRECISION|OPTIMIZER|FINE_TUNING_METHOD|COMPUTE_DTYPE|QUANT_TYPE|TRAIN_ON|PREDICTION_TYPE|EXPORT_FORMAT)_/;

/** An enum's value as people write it: "cosine". */
const plain = (value: string) => (PREFIXES.test(value) ? value.replace(PREFIXES, "").toLowerCase().replaceAll("_", "-") : value);

function leaves(value: unknown, prefix = ""): Leaf[] {
  if (Array.isArray(value)) return [[prefix, value.join(", ")]];
  if (typeof value === "object" && value !== null)
    return Object.entries(value).flatMap(([name, inner]) => leaves(inner, prefix ? `${prefix}.${name}` : name));
  return [[prefix, plain(String(value))]];
}

export function Settings({ job }: { job: JobJson }) {
  const t = useT();
  const [copied, setCopied] = useState("");
  const given = new Map(leaves(job.spec));
  const resolved = leaves(job.resolvedSpec ?? job.spec);
  const copy = (what: string, text: string) => void navigator.clipboard.writeText(text).then(() => setCopied(what));
  const body = { spec: job.spec?.training, requestId: "" };
  return (
    <div className="stack">
      <div className="row">
        <span className="muted">{t.job.copyAs}</span>
        <Button onClick={() => copy("JSON", JSON.stringify(job.spec, null, 2))}>JSON</Button>
        {job.spec?.training && (
          <>
            <Button
              onClick={() =>
                copy("curl", `curl -X POST ${location.origin}/v1/jobs:train -H 'Content-Type: application/json' -d '${JSON.stringify(body)}'`)
              }
            >
              curl
            </Button>
            <Link className="button" href={`/${job.spec.training.languageModel ? "finetune" : "train"}?from=${idOf(job.name)}`}>
              {t.job.trainAgain}
            </Link>
          </>
        )}
        <span role="status" className="small muted">
          {copied && t.job.copied(copied)}
        </span>
      </div>
      <table>
        <thead>
          <tr>
            <th>{t.job.setting}</th>
            <th>{t.job.value}</th>
            <th>{t.job.origin}</th>
          </tr>
        </thead>
        <tbody>
          {resolved.map(([path, value]) => (
            <tr key={path}>
              <td className="mono break">{path.split(".").slice(1).join(".")}</td>
              <td className={given.has(path) ? "given break" : "break"}>{value}</td>
              <td className="small muted">{given.has(path) ? t.job.given : t.job.recommended}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
