/** Every setting of the job as it was resolved, those that were given in bold; and ways to ask for the same again. */

import { useState } from "react";
import { Link } from "wouter";

import { idOf } from "../api/http";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { useT } from "../i18n";
import { fieldName, valueText } from "../train/words";
import { Button } from "../ui/parts";
import { asCommand, asCurl, asPython } from "./copies";
import { leaves, shortPath } from "./leaves";

export function Settings({ job }: { job: JobJson }) {
  const t = useT();
  const given = new Map(leaves(job.spec));
  const resolved = leaves(job.resolvedSpec ?? job.spec);
  const training = job.spec?.training;
  return (
    <div className="stack">
      <div className="row">
        <Copies job={job} />
        {training && (
          <Link className="button" href={`/${training.languageModel ? "finetune" : "train"}?from=${idOf(job.name)}`}>
            {t.job.trainAgain}
          </Link>
        )}
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
              <td className="break">
                {fieldName(t, shortPath(path))}
                <div className="mono small muted">{shortPath(path)}</div>
              </td>
              <td className={given.has(path) ? "given break" : "break"}>{valueText(t, value) || "–"}</td>
              <td className="small muted break">{given.has(path) ? t.job.given : t.job.recommended(training?.baseModel ?? "")}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Copies({ job }: { job: JobJson }) {
  const t = useT();
  const [copied, setCopied] = useState("");
  const training = job.spec?.training;
  const copies: [string, () => string][] = [["JSON", () => JSON.stringify(job.spec, null, 2)]];
  if (training)
    copies.unshift(
      ["CLI", () => asCommand(training)],
      ["curl", () => asCurl(training, location.origin)],
      ["Python", () => asPython(training, location.origin)],
    );
  return (
    <>
      <span className="muted">{t.job.copyAs}</span>
      {copies.map(([what, text]) => (
        <Button key={what} onClick={() => void copy(text()).then((done) => setCopied(done ? t.job.copied(what) : t.job.notCopied))}>
          {what}
        </Button>
      ))}
      <span role="status" className="small muted">
        {copied}
      </span>
    </>
  );
}

/** Puts a text on the clipboard; on addresses that the browser does not trust, by the old way. */
async function copy(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}
