/** The first rows of a chosen file of texts, with what is trained on underlined; read in the browser, whatever the check finds. */

import { useEffect, useMemo, useState } from "react";

import { percent } from "../format";
import { useT } from "../i18n";
import { HEAD_BYTES, rowsOf, trainedShare } from "./rows";

const MOST = 3;
const LONGEST = 600;

/** What of a file is shown, kept for the tab, so that a reload shows it again. */
export interface Head {
  dataset: string;
  text: string;
  isWhole: boolean;
}

const KEY = "tuneyard.head";

/** The first rows of the file that became a dataset; nothing for datasets that came otherwise. */
export function useHead(dataset: string, file: File | null): Head | null {
  const [head, setHead] = useState<Head | null>(() => JSON.parse(sessionStorage.getItem(KEY) ?? "null") as Head | null);
  useEffect(() => {
    if (!file || !dataset || !canPreview(file)) return;
    let current = true;
    void file
      .slice(0, HEAD_BYTES)
      .text()
      .then((text) => {
        if (!current) return;
        const made = { dataset, text, isWhole: file.size <= HEAD_BYTES };
        setHead(made);
        sessionStorage.setItem(KEY, JSON.stringify(made));
      });
    return () => {
      current = false;
    };
  }, [dataset, file]);
  return head?.dataset === dataset ? head : null;
}

export function Preview({ head, all }: { head: Head; all: boolean }) {
  const t = useT();
  const words = t.training.preview;
  const rows = useMemo(() => rowsOf(head.text, { isWhole: head.isWhole, most: MOST, all }), [head, all]);
  return (
    <details className="preview" open>
      <summary>{words.title}</summary>
      <div className="stack tight">
        {rows.rows.length === 0 ? (
          <p className="muted">{words.none}</p>
        ) : (
          <p className="small muted">{words.share(percent(trainedShare(rows)))}</p>
        )}
        {rows.rows.map((row) => (
          <article key={row.line} className="turns" aria-label={words.line(row.line)}>
            <p className="small muted">{words.line(row.line)}</p>
            {row.turns.map((turn, index) => (
              <p key={index} className="said">
                <span className="small muted">{words.roles[turn.role]}</span>
                <span className={turn.trained ? "trained" : undefined}>
                  {turn.text.length > LONGEST ? `${turn.text.slice(0, LONGEST)}…` : turn.text}
                  {turn.trained && <span className="visually-hidden"> ({words.trained})</span>}
                </span>
              </p>
            ))}
          </article>
        ))}
        {rows.broken > 0 && <p className="small unusual">{words.broken(rows.broken)}</p>}
      </div>
    </details>
  );
}

/** Whether a file's first bytes can be shown as rows. */
const canPreview = (file: File) => /\.(jsonl|ndjson)$/i.test(file.name);
