/** The first rows of a chosen file of texts, with what is trained on underlined; read in the browser, before any check. */

import { useEffect, useState } from "react";

import { percent } from "../format";
import { useT } from "../i18n";
import { HEAD_BYTES, rowsOf, trainedShare, type Rows } from "./rows";

const MOST = 3;
const LONGEST = 600;

export function Preview({ file, all }: { file: File; all: boolean }) {
  const t = useT();
  const words = t.training.preview;
  const [rows, setRows] = useState<Rows | null>(null);
  useEffect(() => {
    let current = true;
    void file
      .slice(0, HEAD_BYTES)
      .text()
      .then((text) => current && setRows(rowsOf(text, { isWhole: file.size <= HEAD_BYTES, most: MOST, all })));
    return () => {
      current = false;
    };
  }, [file, all]);
  if (!rows) return null;
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
              <p key={index} className="turn">
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
export const canPreview = (file: File) => /\.(jsonl|ndjson)$/i.test(file.name);
