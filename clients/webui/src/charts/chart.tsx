/** One panel of curves, drawn by uPlot: all points, the least and greatest of each pixel's column. */

import "uplot/dist/uPlot.min.css";

import { useEffect, useId, useMemo, useRef, useState, type KeyboardEvent } from "react";
import uPlot from "uplot";

import { count, duration, number } from "../format";
import { useT } from "../i18n";
import type { Mark } from "../job/store";
import { isLessBetter, measureName, metricValue } from "../metrics";
import { onThemeChange } from "../theme";
import { save } from "../ui/save";
import { columnsOf, isSmoothable, isSmoothed, type Line, type Look } from "./panel";
import { HEIGHT, NONE_CLIPPED, plotOptions, SIGNS, type Clipped, type Range } from "./plot";
import { csvOf, Table } from "./table";

interface Props {
  measure: string;
  lines: Line[];
  look: Look;
  marks: readonly Mark[];
  /** What changes whenever points were added. */
  version: number;
  /** The shared range of x; null shows everything. */
  range: Range | null;
  onRange: (range: Range | null) => void;
  wide: boolean;
}

export default function Chart({ measure, lines, look, marks, version, range, onRange, wide }: Props) {
  const t = useT();
  const heading = useId();
  const [at, setAt] = useState<number | null>(null);
  const [table, setTable] = useState(false);
  const [isWide, setWide] = useState(wide);
  const { place, plot, hidden, clipped } = usePlot({ lines, look, marks, version, range, onRange }, setAt);
  const title = measureName(t, measure);
  const label = useMemo(
    () => `${title}. ${lines.map((line) => described(line, t.job.best)).join(", ")}`,
    // The lines' points change in place.
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [title, version],
  );
  const position = at === null ? undefined : plot.current?.data[0][at];
  const readings = position === undefined || at === null ? undefined : lines.map((line) => readingOf(plot.current, line, lines, look, at));
  const where = position === undefined ? "" : t.job.at[look.axis]({ step: count, epoch: number, time: duration }[look.axis](position));
  const near = look.axis === "step" && position !== undefined && plot.current ? marksNear(plot.current, marks, position) : [];
  const picture = () =>
    place.current?.querySelector("canvas")?.toBlob((blob) => {
      if (blob) save(`${measure}.png`, blob);
    });
  return (
    <figure className={`chart${isWide ? " wide" : ""}`} aria-labelledby={heading}>
      <figcaption>
        <h3 id={heading}>{title}</h3>
        <span className="row small muted keys-of-lines">
          {where && <span>{where}</span>}
          {lines.map((line, index) => (
            <span key={`${line.label} ${line.name}`} className={`key line-${line.color}${line.dashed ? " dashed" : ""}`}>
              {line.label} <b>{metricValue(line.name, readings ? readings[index]?.raw : line.curve.last)}</b>
              {readings?.[index]?.smooth !== undefined && t.job.smoothed(metricValue(line.name, readings[index].smooth))}
            </span>
          ))}
          {near.map((mark, index) => (
            <span key={index}>
              {SIGNS[mark.kind]} {t.job.markNames[mark.kind]} {mark.text}
            </span>
          ))}
          {hidden > 0 && <span>{t.job.hiddenPoints(hidden)}</span>}
          {clipped.above > 0 && <span>{t.job.above(clipped.above, number(clipped.max))}</span>}
          {clipped.below > 0 && <span>{t.job.below(clipped.below, number(clipped.min))}</span>}
        </span>
        <details className="menu">
          <summary aria-label={t.job.menu(title)}>⋯</summary>
          <div>
            <button type="button" aria-pressed={table} onClick={() => setTable(!table)}>
              {t.job.table}
            </button>
            <button type="button" onClick={() => save(`${measure}.csv`, new Blob([csvOf(lines)], { type: "text/csv" }))}>
              {t.job.csv}
            </button>
            <button type="button" onClick={picture}>
              {t.job.png}
            </button>
            <button type="button" onClick={() => setWide(!isWide)}>
              {isWide ? t.job.narrow : t.job.wide}
            </button>
          </div>
        </details>
      </figcaption>
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-element-interactions */}
      <div
        ref={place}
        className="canvas"
        role="img"
        aria-label={label}
        // A chart that a keyboard can read: arrows move the cursor, and what is under it is said.
        // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex
        tabIndex={0}
        onKeyDown={(event) => plot.current && onKey(event, plot.current, onRange)}
      />
      <p className="visually-hidden" aria-live="polite">
        {readings && `${where}, ${lines.map((line, index) => `${line.label} ${metricValue(line.name, readings[index]?.raw)}`).join(", ")}`}
      </p>
      {table && <Table lines={lines} />}
    </figure>
  );
}

/** A plot in its place, drawn while it is in view. */
function usePlot(
  { lines, look, marks, version, range, onRange }: Omit<Props, "measure" | "wide">,
  onCursor: (index: number | null) => void,
) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [hidden, setHidden] = useState(0);
  const [clipped, setClipped] = useState<Clipped>(NONE_CLIPPED);
  const [isSeen, setSeen] = useState(false);
  const [theme, setTheme] = useState(0);
  const shape = [...lines.map((line) => `${line.label}${line.name}${line.color}${isSmoothable(line)}${line.curve.length < 200}`), look.axis, look.log, look.ignoreSpikes, look.smoothing > 0, theme].join("|");
  const onClipped = (now: Clipped) =>
    setClipped((before) => (before.above === now.above && before.below === now.below && before.max === now.max ? before : now));
  const current = useRef({ range, marks, onRange, onCursor, onClipped });
  useEffect(() => {
    current.current = { range, marks, onRange, onCursor, onClipped };
  });
  useEffect(() => onThemeChange(() => setTheme((count) => count + 1)), []);

  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const height = element.clientHeight || HEIGHT;
    const made = new uPlot(plotOptions(lines, look, element.clientWidth, height, current), [[]], element);
    plot.current = made;
    const resize = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }));
    resize.observe(element);
    const seeing = new IntersectionObserver(([entry]) => setSeen(entry?.isIntersecting ?? true), { rootMargin: "200px" });
    seeing.observe(element);
    return () => {
      resize.disconnect();
      seeing.disconnect();
      made.destroy();
      plot.current = null;
    };
    // The lines' points change in place: only another shape needs another plot.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [shape]);

  useEffect(() => {
    const made = plot.current;
    if (!made || !isSeen) return;
    const { data, hidden: left } = columnsOf(lines, look);
    const x = data[0];
    const [min, max] = range ?? [x[0] ?? 0, x[x.length - 1] ?? 1];
    made.batch(() => {
      made.setData(data as uPlot.AlignedData, false);
      made.setScale("x", { min, max: max > min ? max : min + 1 });
    });
    setHidden(left);
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [version, shape, look.smoothing, range, isSeen]);

  return { place, plot, hidden, clipped };
}

/** Arrows move the cursor, Home and End to the ends; plus and minus zoom around it. */
function onKey(event: KeyboardEvent, made: uPlot, onRange: Props["onRange"]) {
  const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 };
  const x = made.data[0];
  if (!x?.length) return;
  const by = steps[event.key];
  if (by !== undefined) {
    const from = made.cursor.idx ?? x.length - 1;
    const to = Math.min(Math.max(from + (event.shiftKey ? by * 10 : by), 0), x.length - 1);
    made.setCursor({ left: made.valToPos(x[to]!, "x"), top: HEIGHT / 2 });
  } else if (event.key === "+" || event.key === "=" || event.key === "-") {
    const { min, max } = made.scales["x"]!;
    const middle = made.cursor.idx == null ? (min! + max!) / 2 : x[made.cursor.idx]!;
    const half = ((max! - min!) / 2) * (event.key === "-" ? 2 : 0.5);
    const [from, to] = [Math.max(middle - half, x[0]!), Math.min(middle + half, x[x.length - 1]!)];
    onRange(from <= x[0]! && to >= x[x.length - 1]! ? null : [from, to]);
  } else return;
  event.preventDefault();
}

function readingOf(made: uPlot | null, line: Line, lines: readonly Line[], look: Look, index: number) {
  let column = 1;
  for (const each of lines) {
    if (each === line) break;
    column += isSmoothed(each, look) ? 2 : 1;
  }
  const raw = made?.data[column]?.[index] ?? undefined;
  return { raw, smooth: isSmoothed(line, look) ? (made?.data[column + 1]?.[index] ?? undefined) : undefined };
}

/** How near a mark has to be to the cursor, in pixels. */
const NEAR = 5;

const marksNear = (made: uPlot, marks: readonly Mark[], step: number) => {
  const left = made.valToPos(step, "x");
  return marks.filter((mark) => Math.abs(made.valToPos(mark.step, "x") - left) <= NEAR).slice(0, 3);
};

/** "Validation 0.1312, best 0.1287". */
function described(line: Line, best: (value: string) => string): string {
  const { curve, label, name } = line;
  if (name.endsWith("learning_rate")) return `${label} ${metricValue(name, curve.last)}`;
  const pick = isLessBetter(name) ? Math.min : Math.max;
  const found = curve.values.reduce((a, b) => (Number.isFinite(b) ? pick(a, b) : a), isLessBetter(name) ? Infinity : -Infinity);
  return `${label} ${metricValue(name, curve.last)}${Number.isFinite(found) ? `, ${best(metricValue(name, found))}` : ""}`;
}
