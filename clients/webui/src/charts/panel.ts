/** Which metrics share a panel, and what is drawn of each. */

import { smoothed, type Curve } from "../job/curves";

export type Axis = "step" | "epoch" | "time";

export interface Line {
  name: string;
  curve: Curve;
  /** 1 to 5: the token of its colour. */
  color: number;
  dashed: boolean;
}

export interface PanelSpec {
  title: string;
  lines: Line[];
}

export interface Look {
  axis: Axis;
  log: boolean;
  /** 0 is off. */
  smoothing: number;
  plannedSteps: number;
}

/** The panels of a job: loss first, then each other measure, trained and evaluated values together. */
export function panelsOf(curves: ReadonlyMap<string, Curve>): PanelSpec[] {
  const groups = new Map<string, Line[]>();
  for (const [name, curve] of curves) {
    const [stage, measure] = name.includes("/") ? (name.split("/", 2) as [string, string]) : ["", name];
    const lines = groups.get(measure) ?? [];
    const evaluated = stage === "eval" || stage === "base";
    lines.push({ name, curve, color: evaluated ? 2 : 1, dashed: evaluated });
    groups.set(measure, lines);
  }
  const rank = (measure: string) => {
    if (measure === "loss") return 0;
    if ((groups.get(measure) ?? []).some((line) => line.name.startsWith("eval/"))) return 1;
    return measure === "learning_rate" ? 2 : 3;
  };
  return [...groups]
    .sort(([a], [b]) => rank(a) - rank(b) || a.localeCompare(b))
    .map(([measure, lines]) => ({ title: measure.replaceAll("_", " "), lines }));
}

const FEW = 30;

/** Whether a line may be smoothed: noise of training steps is, measurements never are. */
export const isSmoothable = (line: Line) =>
  line.name.startsWith("train/") && !line.name.endsWith("learning_rate") && line.curve.length >= FEW;

export type Columns = [Float64Array, ...(Float64Array | (number | null)[])[]];

/** The columns that uPlot draws: one common x, for each line its raw values and, where smoothed, those too. */
export function columnsOf(lines: readonly Line[], look: Look): { data: Columns; hidden: number } {
  const xs = lines.map((line) => xOf(line.curve, look.axis));
  const x = union(xs);
  let hidden = 0;
  const columns: (number | null)[][] = [];
  lines.forEach((line, index) => {
    const own = xs[index]!;
    const raw = spread(x, own, line.curve.values, look.log);
    hidden += raw.hidden;
    columns.push(raw.column);
    if (look.smoothing > 0 && isSmoothable(line)) {
      const smooth = smoothed(line.curve.x, line.curve.values, look.smoothing, look.plannedSteps);
      columns.push(spread(x, own, smooth, look.log).column);
    }
  });
  return { data: [x, ...columns], hidden };
}

function xOf(curve: Curve, axis: Axis): Float64Array {
  if (axis === "step") return curve.x;
  if (axis === "epoch") return curve.epochs;
  return running(curve.times);
}

/** Seconds of running: pauses longer than a minute are cut out. */
function running(times: Float64Array): Float64Array {
  const result = new Float64Array(times.length);
  let total = 0;
  for (let i = 1; i < times.length; i++) {
    const passed = (times[i]! - times[i - 1]!) / 1000;
    total += passed > 60 ? 0 : Math.max(0, passed);
    result[i] = total;
  }
  return result;
}

function union(all: readonly Float64Array[]): Float64Array {
  const longest = all.reduce((best, each) => (each.length > best.length ? each : best), new Float64Array(0));
  const others = all.filter((each) => each !== longest);
  const known = new Set(longest);
  const missing = others.flatMap((each) => [...each].filter((value) => !known.has(value)));
  if (!missing.length) return longest;
  return Float64Array.from(new Set([...longest, ...missing])).sort();
}

function spread(x: Float64Array, own: Float64Array, values: Float64Array, log: boolean) {
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
