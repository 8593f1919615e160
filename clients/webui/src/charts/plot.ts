/** How uPlot draws a panel: colours of the theme, ranges, marks, and what the pointer does. */

import uPlot from "uplot";

import { count } from "../format";
import type { Mark } from "../job/store";
import { isShareOf } from "../metrics";
import { isSmoothed, type Line, type Look } from "./panel";
import { listenToPinches } from "./pinch";
import { withRoom } from "./room";
import { durationsApartBy, numbersApartBy, sharesApartBy, TIMES, WHOLE } from "./ticks";

export const HEIGHT = 260;
export type Range = [number, number];

/** What changes without another plot being made. */
export interface Current {
  range: Range | null;
  marks: readonly Mark[];
  onRange: (range: Range | null) => void;
  onCursor: (index: number | null) => void;
  onClipped: (clipped: Clipped) => void;
}

/** Points outside of what is drawn, where spikes are ignored. */
export interface Clipped {
  above: number;
  below: number;
  min: number;
  max: number;
}

export const NONE_CLIPPED: Clipped = { above: 0, below: 0, min: 0, max: 0 };

const token = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A colour of the current theme: canvases know no light-dark(). */
function color(name: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

export function plotOptions(lines: readonly Line[], look: Look, width: number, height: number, state: { current: Current }): uPlot.Options {
  const axis: uPlot.Axis = {
    stroke: color("--muted"),
    grid: { stroke: color("--border"), width: 1 },
    ticks: { show: false },
    font: `12px ${token("--font")}`,
  };
  const spoken = (values: readonly (number | null)[], say: (value: number) => string) =>
    values.map((value) => (value === null ? "" : say(value)));
  const areShares = lines.every((line) => isShareOf(line.name));
  const marks = { muted: color("--muted"), border: color("--border"), font: token("--font") };
  return {
    width,
    height,
    scales: {
      x: { time: false },
      y: look.log
        ? { distr: 3, range: (_plot, min, max) => uPlot.rangeLog(min > 0 ? min : 1e-6, max > 0 ? max : 1, 10, true) }
        : { range: (plot, min, max) => (look.ignoreSpikes ? withoutSpikes(plot, areShares) : null) ?? withRoom(min, max, { areShares }) },
    },
    axes: [
      { ...axis, size: 36, incrs: INCREMENTS[look.axis], values: (_plot, values, _axis, _space, distance) => spoken(values, ALONG[look.axis](distance)) },
      { ...axis, size: 64, values: (_plot, values, _axis, _space, distance) => spoken(values, (areShares ? sharesApartBy : numbersApartBy)(distance)) },
    ],
    legend: { show: false },
    cursor: { drag: { x: true, y: false, setScale: false }, sync: { key: "job" }, points: { size: 6 } },
    series: [{}, ...lines.flatMap((line) => seriesOf(line, look))],
    hooks: {
      setSelect: [(plot) => select(plot, state.current)],
      setCursor: [(plot) => state.current.onCursor(plot.cursor.idx ?? null)],
      ready: [(plot) => listen(plot, state)],
      draw: [
        (plot) => {
          if (look.axis === "step") drawMarks(plot, state.current.marks, marks);
          state.current.onClipped(look.ignoreSpikes && !look.log ? drawClipped(plot, marks.muted) : NONE_CLIPPED);
        },
      ],
    },
  };
}

const INCREMENTS = { step: WHOLE, epoch: undefined, time: TIMES };
const ALONG = { step: () => count, epoch: numbersApartBy, time: durationsApartBy };

function select(plot: uPlot, current: Current) {
  if (plot.select.width < 4) return;
  const from = plot.posToVal(plot.select.left, "x");
  const to = plot.posToVal(plot.select.left + plot.select.width, "x");
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  current.onRange([from, to]);
}

/** Double click shows everything; dragging with Shift moves what is shown; two fingers do both. */
function listen(plot: uPlot, state: { current: Current }) {
  plot.over.addEventListener("dblclick", () => state.current.onRange(null));
  listenToPinches(plot.over, {
    shown: () => [plot.scales["x"]!.min!, plot.scales["x"]!.max!],
    all: () => [plot.data[0][0] ?? 0, plot.data[0].at(-1) ?? 1],
    onRange: (range) => state.current.onRange(range),
  });
  plot.root.addEventListener(
    "mousedown",
    (event) => {
      const range = state.current.range;
      if (!event.shiftKey || !range) return;
      event.stopPropagation();
      event.preventDefault();
      const perPixel = (range[1] - range[0]) / plot.over.clientWidth;
      const from = event.clientX;
      const move = (moved: MouseEvent) => {
        const by = (from - moved.clientX) * perPixel;
        state.current.onRange([range[0] + by, range[1] + by]);
      };
      addEventListener("mousemove", move);
      addEventListener("mouseup", () => removeEventListener("mousemove", move), { once: true });
    },
    true,
  );
}

/** The indices that are in view. */
function inView(plot: uPlot): Range {
  const { min, max } = plot.scales["x"]!;
  const x = plot.data[0];
  let [from, to] = [0, x.length];
  while (from < to && x[from]! < min!) from += 1;
  while (to > from && x[to - 1]! > max!) to -= 1;
  return [from, to];
}

/** How many values tell where the spikes begin; of more, every so many-th is looked at. */
const ENOUGH = 2000;

/** From the 2nd to the 98th percentile of what is in view; null where there is too little to tell. */
function withoutSpikes(plot: uPlot, areShares: boolean): Range | null {
  const [from, to] = inView(plot);
  const stride = Math.max(1, Math.floor((to - from) / ENOUGH));
  const values: number[] = [];
  for (const column of plot.data.slice(1))
    for (let i = from; i < to; i += stride) if (column[i] != null) values.push(column[i]!);
  if (values.length < 50) return null;
  values.sort((a, b) => a - b);
  return withRoom(values[Math.floor(values.length * 0.02)]!, values[Math.ceil(values.length * 0.98) - 1]!, { areShares });
}

/** Carets at the edges where points lie outside; returns how many. */
function drawClipped(plot: uPlot, muted: string): Clipped {
  const { min, max } = plot.scales["y"]!;
  const { ctx, bbox } = plot;
  const clipped: Clipped = { above: 0, below: 0, min: min!, max: max! };
  const size = 4 * devicePixelRatio;
  const [from, to] = inView(plot);
  ctx.save();
  ctx.fillStyle = muted;
  for (const column of plot.data.slice(1))
    for (let i = from; i < to; i++) {
      const value = column[i];
      if (value == null || (value <= max! && value >= min!)) continue;
      const isAbove = value > max!;
      clipped[isAbove ? "above" : "below"] += 1;
      const left = plot.valToPos(plot.data[0][i]!, "x", true);
      const [edge, inward] = isAbove ? [bbox.top, size] : [bbox.top + bbox.height, -size];
      ctx.beginPath();
      ctx.moveTo(left, edge);
      ctx.lineTo(left - size, edge + inward);
      ctx.lineTo(left + size, edge + inward);
      ctx.fill();
    }
  ctx.restore();
  return clipped;
}

/** Lines with fewer points show them. */
const SPARSE = 200;

function seriesOf(line: Line, look: Look): uPlot.Series[] {
  const stroke = color(`--line-${line.color}`);
  const base: uPlot.Series = {
    stroke,
    width: 1.5,
    spanGaps: true,
    points: { show: line.curve.length < SPARSE, size: 4 },
    ...(line.dashed ? { dash: [6, 4] } : {}),
  };
  if (!isSmoothed(line, look)) return [base];
  const faint = stroke.replace(/^rgb\((.*)\)$/, "rgb($1 / 0.25)").replace(/,/g, " ");
  return [{ ...base, stroke: faint, width: 1, points: { show: false } }, { ...base, points: { show: false } }];
}

export const SIGNS: Record<Mark["kind"], string> = { checkpoint: "·", best: "★", attempt: "↻", oom: "▼", rollback: "↶" };

function drawMarks(plot: uPlot, marks: readonly Mark[], look: { muted: string; border: string; font: string }) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.fillStyle = look.muted;
  ctx.strokeStyle = look.border;
  ctx.font = `${12 * devicePixelRatio}px ${look.font}`;
  ctx.textAlign = "center";
  for (const mark of marks) {
    const left = plot.valToPos(mark.step, "x", true);
    if (left < bbox.left || left > bbox.left + bbox.width) continue;
    if (mark.kind !== "checkpoint") {
      ctx.beginPath();
      ctx.setLineDash([2, 4]);
      ctx.moveTo(left, bbox.top);
      ctx.lineTo(left, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.fillText(SIGNS[mark.kind], left, bbox.top + bbox.height - 4 * devicePixelRatio);
  }
  ctx.restore();
}
