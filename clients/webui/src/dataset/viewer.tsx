/** Files of a dataset to look at: small ones in lists, and one large with its boxes or lines, next by the arrows. */

import { useEffect, useId, useRef, useState } from "react";

import { fileUrl, isPicture, useDatasetFiles, useDatasetLines } from "../api/datasets";
import type { DatasetJson, FindingJson } from "../gen/tuneyard/v1/dataset_pb";
import { useT } from "../i18n";
import { Button } from "../ui/parts";
import { boxesOf, imagePrefixOf, labelOf, otherPath, type Box } from "./findings";
import { FindingText } from "./finding-text";

/** 64 pixels of a picture, of a label's picture, or what there is instead. */
export function Thumb({ dataset, path }: { dataset: DatasetJson; path: string }) {
  const t = useT();
  const [broken, setBroken] = useState(false);
  const picture = usePictureOf(dataset, path);
  if (!picture || broken) {
    const extension = /\.([A-Za-z0-9]{1,5})$/.exec(path)?.[1] ?? "";
    return (
      <span className="thumb missing" aria-hidden="true">
        {broken ? t.datasets.broken : extension}
      </span>
    );
  }
  return <img className="thumb" src={fileUrl(dataset, picture)} alt="" loading="lazy" decoding="async" onError={() => setBroken(true)} />;
}

/** The picture that a path is, or that a label file is about. */
function usePictureOf(dataset: DatasetJson, path: string): string | undefined {
  const isLabel = dataset.format === "DATASET_FORMAT_YOLO" && path.endsWith(".txt");
  const files = useDatasetFiles(dataset, imagePrefixOf(path), 5, isLabel);
  if (isPicture(path)) return path;
  return isLabel ? files.data?.files?.find((file) => isPicture(file.path ?? ""))?.path : undefined;
}

export function Viewer({
  dataset,
  findings,
  at,
  onMove,
  onClose,
}: {
  dataset: DatasetJson;
  findings: readonly FindingJson[];
  at: number;
  onMove: (at: number) => void;
  onClose: () => void;
}) {
  const t = useT();
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => dialog.current?.showModal(), []);
  const finding = findings[at];
  const move = (by: number) => at + by >= 0 && at + by < findings.length && onMove(at + by);
  if (!finding?.path) return null;
  const other = otherPath(finding);
  return (
    // The arrows are a second way beside the buttons.
    // eslint-disable-next-line jsx-a11y/no-noninteractive-element-interactions
    <dialog
      ref={dialog}
      className="viewer"
      aria-labelledby={heading}
      onClose={onClose}
      onKeyDown={(event) => {
        if (event.key === "ArrowRight") move(1);
        if (event.key === "ArrowLeft") move(-1);
      }}
    >
      <div className="stack">
        <h2 id={heading} className="break">
          {finding.path}
          {finding.line && ` · ${t.datasets.line(finding.line)}`}
        </h2>
        <p>
          <FindingText finding={finding} />
        </p>
        <p className="text-2">{t.datasets.remedies[finding.code ?? ""] ?? finding.remedy}</p>
        <div className={other ? "pair" : ""}>
          <Large dataset={dataset} path={finding.path} line={Number(finding.line ?? 0)} message={finding.message ?? ""} />
          {other && <Large dataset={dataset} path={other} line={0} message="" named />}
        </div>
        <div className="row spread">
          <span className="row">
            <Button disabled={at === 0} onClick={() => move(-1)}>
              {t.datasets.previous}
            </Button>
            <Button disabled={at === findings.length - 1} onClick={() => move(1)}>
              {t.datasets.next}
            </Button>
            <span className="muted">{t.datasets.of(at + 1, findings.length)}</span>
          </span>
          <Button onClick={() => dialog.current?.close()}>{t.actions.close}</Button>
        </div>
      </div>
    </dialog>
  );
}

function Large({
  dataset,
  path,
  line,
  message,
  named = false,
}: {
  dataset: DatasetJson;
  path: string;
  line: number;
  message: string;
  named?: boolean;
}) {
  const picture = usePictureOf(dataset, path);
  return (
    <figure className="stack">
      {picture && <Picture key={picture} dataset={dataset} path={picture} wrongLine={path === picture ? 0 : line} />}
      {!isPicture(path) && <Lines dataset={dataset} path={path} line={line} message={message} />}
      {named && <figcaption className="mono small break">{path}</figcaption>}
    </figure>
  );
}

/** A picture with the boxes of its label, the wrong one in red. */
export function Picture({ dataset, path, wrongLine = 0 }: { dataset: DatasetJson; path: string; wrongLine?: number }) {
  const t = useT();
  const [broken, setBroken] = useState(false);
  const labelled = dataset.format === "DATASET_FORMAT_YOLO";
  const label = useDatasetLines(dataset, labelOf(path), 1, 200, labelled);
  const boxes = labelled ? boxesOf(label.data ?? []) : [];
  if (broken) return <p className="muted">{t.datasets.broken}</p>;
  return (
    <div className="boxed">
      <img src={fileUrl(dataset, path)} alt={path} onError={() => setBroken(true)} />
      {boxes.length > 0 && (
        <svg viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true">
          {boxes.map((box) => (
            <BoxOf key={box.line} box={box} wrong={box.line === wrongLine} />
          ))}
        </svg>
      )}
    </div>
  );
}

const BoxOf = ({ box, wrong }: { box: Box; wrong: boolean }) => (
  <rect className={wrong ? "wrong" : ""} x={box.x} y={box.y} width={Math.max(0, box.width)} height={Math.max(0, box.height)} vectorEffect="non-scaling-stroke" />
);

const AROUND = 2;

/** The lines around one, that one marked, and in it the character that the message names. */
export function Lines({ dataset, path, line, message }: { dataset: DatasetJson; path: string; line: number; message: string }) {
  const t = useT();
  const lines = useDatasetLines(dataset, path, Math.max(1, line - AROUND), line ? 2 * AROUND + 1 : 40);
  const told = Number(/character (\d+)/.exec(message)?.[1] ?? 0);
  return (
    // It scrolls, so that the keyboard must reach it.
    // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex
    <ol className="lines" tabIndex={0} aria-label={path}>
      {lines.data?.map((each) => {
        const text = each.text ?? "";
        const here = Number(each.line) === line;
        // What is missing at a line's end is shown at its last character.
        const character = Math.min(told, text.length);
        return (
          <li key={each.line} className={here ? "here" : ""}>
            <span className="muted">{each.line}</span>
            <span className="break">
              {here && character > 0 ? (
                <>
                  {text.slice(0, character - 1)}
                  <mark>{text.slice(character - 1, character)}</mark>
                  {text.slice(character)}
                </>
              ) : (
                text
              )}
              {each.isCut && <span className="muted"> {t.datasets.cut}</span>}
            </span>
          </li>
        );
      })}
    </ol>
  );
}
