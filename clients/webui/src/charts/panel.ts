/** Which metrics share a panel, and what is drawn of each. */

import type { Clock } from "../job/clock";
import { smoothed, type Curve } from "../job/curves";
import { partsOf } from "../metrics";

export type Axis = "step" | "epoch" | "time";

export interface Line {
  /** Of the metric: "train/loss". */
  name: string;
  /** What is shown: the stage, or the job where several are compared. */
  label: string;
  curve: Curve;
  /** 1 to 5: the token of its colour. */
  color: number;
  dashed: boolean;
  plannedSteps: number;
  clock: Clock;
}

export interface PanelSpec {
  measure: string;
  lines: Line[];
}

export interface Look {
  axis: Axis;
  log: boolean;
  /** 0 is off. */
  smoothing: number;
  ignoreSpikes: boolean;
}

/** A job as a source of lines. */
export interface Source {
  curves: ReadonlyMap<string, Curve>;
  plannedSteps: number;
  clock: Clock;
  /** How a line is called. */
  label: (name: string) => string;
  /** The colour of all its lines; undefined to tell stages apart by colour. */
  color: number | undefined;
}

/** Colours that there are. */
export const COLORS = 5;

/** The panels of jobs: loss first, then each other measure, trained and evaluated values together. */
export function panelsOf(sources: readonly Source[]): PanelSpec[] {
  const groups = new Map<string, Line[]>();
  for (const { curves, plannedSteps, clock, label, color } of sources)
    for (const [name, curve] of curves) {
      const { stage, measure, part } = partsOf(name);
      const lines = groups.get(measure) ?? [];
      const isEvaluated = stage === "eval" || stage === "base";
      const own = part ? (lines.length % COLORS) + 1 : isEvaluated ? 2 : 1;
      lines.push({ name, label: label(name), curve, color: color ?? own, dashed: isEvaluated && !part, plannedSteps, clock });
      groups.set(measure, lines);
    }
  return [...groups]
    .map(([measure, lines]) => ({ measure, lines }))
    .sort((a, b) => rank(a) - rank(b) || a.measure.localeCompare(b.measure));
}

/** 0 for the loss, 1 for what is evaluated, 2 for the learning rate, 3 for the rest. */
export function rank({ measure, lines }: PanelSpec): number {
  if (measure === "loss") return 0;
  if (lines.some((line) => line.name.startsWith("eval/") && !partsOf(line.name).part)) return 1;
  return measure === "learning_rate" ? 2 : 3;
}

const FEW = 30;

/** Whether a line may be smoothed: noise of training steps is, measurements never are. */
export const isSmoothable = (line: Line) =>
  line.name.startsWith("train/") && !line.name.endsWith("learning_rate") && line.curve.length >= FEW;

/** Whether a line is drawn twice: as measured, faintly, and smoothed. */
export const isSmoothed = (line: Line, look: Look) => look.smoothing > 0 && isSmoothable(line);

type Column = Float64Array | (number | null)[];
export type Columns = [Float64Array, ...Column[]];

/** The columns that uPlot draws: one common x, for each line its raw values and, where smoothed, those too. */
export function columnsOf(lines: readonly Line[], look: Look): { data: Columns; hidden: number } {
  const xs = lines.map((line) => xOf(line, look.axis));
  const x = xs.reduce(union, new Float64Array(0));
  let hidden = 0;
  const columns: Column[] = [];
  lines.forEach((line, index) => {
    const own = xs[index]!;
    const raw = spread(x, own, line.curve.values, look.log);
    hidden += raw.hidden;
    columns.push(raw.column);
    if (isSmoothed(line, look)) {
      const smooth = smoothed(line.curve.x, line.curve.values, look.smoothing, line.plannedSteps);
      columns.push(spread(x, own, smooth, look.log).column);
    }
  });
  return { data: [x, ...columns], hidden };
}

function xOf({ curve, clock }: Line, axis: Axis): Float64Array {
  if (axis === "step") return curve.x;
  if (axis === "epoch") return curve.epochs;
  return curve.times.map(clock);
}

/** Both in order, what they share once; the longer one itself where it holds all of the other. */
export function union(a: Float64Array, b: Float64Array): Float64Array {
  const [long, short] = a.length >= b.length ? [a, b] : [b, a];
  const merged = new Float64Array(long.length + short.length);
  let size = 0;
  let added = 0;
  let i = 0;
  let j = 0;
  while (i < long.length || j < short.length) {
    const isLong = j >= short.length || (i < long.length && long[i]! <= short[j]!);
    const next = isLong ? long[i++]! : short[j++]!;
    if (size > 0 && merged[size - 1] === next) continue;
    merged[size++] = next;
    if (!isLong) added += 1;
  }
  return added === 0 ? long : merged.subarray(0, size);
}

function spread(x: Float64Array, own: Float64Array, values: Float64Array, log: boolean): { column: Column; hidden: number } {
  if (own === x && values.every((value) => Number.isFinite(value) && !(log && value <= 0))) return { column: values, hidden: 0 };
  const column = new Array<number | null>(x.length).fill(null);
  let at = 0;
  let hidden = 0;
  for (let i = 0; i < own.length; i++) {
    while (at < x.length && x[at]! < own[i]!) at += 1;
    const value = values[i]!;
    if (!Number.isFinite(value) || (log && value <= 0)) {
      hidden += 1;
      continue;
    }
    if (at < x.length) column[at] = value;
  }
  return { column, hidden };
}
