/** One panel of curves, drawn by uPlot: all points, the least and greatest of each pixel's column. */

import "uplot/dist/uPlot.min.css";

import { useEffect, useId, useMemo, useRef, useState } from "react";
import uPlot from "uplot";

import { number } from "../format";
import { useT } from "../i18n";
import type { Mark } from "../job/store";
import { columnsOf, isSmoothable, type Line, type Look } from "./panel";

const HEIGHT = 260;

interface Props {
  title: string;
  lines: Line[];
  look: Look;
  marks: readonly Mark[];
  /** What changes whenever points were added. */
  version: number;
  /** The shared range of x; null shows everything. */
  range: [number, number] | null;
  onRange: (range: [number, number] | null) => void;
}

export default function Chart({ title, lines, look, marks, version, range, onRange }: Props) {
  const t = useT();
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const heading = useId();
  const [cursor, setCursor] = useState("");
  const [hidden, setHidden] = useState(0);
  const [table, setTable] = useState(false);
  const shape = `${lines.map((line) => `${line.name}${isSmoothable(line)}`).join()}|${look.axis}|${look.log}|${look.smoothing > 0}`;
  const current = useRef({ range, marks, onRange });
  useEffect(() => {
    current.current = { range, marks, onRange };
  });

  useEffect(() => {
    const element = place.current;
    if (!element) return;
    const made = new uPlot(options(lines, look, element.clientWidth, current), [[]], element);
    plot.current = made;
    const resize = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    resize.observe(element);
    return () => {
      resize.disconnect();
      made.destroy();
      plot.current = null;
    };
    // The lines' points change in place: only another shape needs another plot.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [shape]);

  useEffect(() => {
    const made = plot.current;
    if (!made) return;
    const { data, hidden: left } = columnsOf(lines, look);
    made.setData(data as uPlot.AlignedData, false);
    const x = data[0];
    const [min, max] = range ?? [x[0] ?? 0, x[x.length - 1] ?? 1];
    made.setScale("x", { min, max: max > min ? max : min + 1 });
    setHidden(left);
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [version, shape, look.smoothing, range]);

  const move = (by: number) => {
    const made = plot.current;
    const x = made?.data[0];
    if (!made || !x?.length) return;
    const from = made.cursor.idx ?? x.length - 1;
    const to = Math.min(Math.max(from + by, 0), x.length - 1);
    made.setCursor({ left: made.valToPos(x[to]!, "x"), top: HEIGHT / 2 });
    const told = lines.map((line) => `${line.name} ${number(valueAt(made, line, lines, look, to))}`);
    setCursor(`${look.axis} ${number(x[to])}, ${told.join(", ")}`);
  };

  const label = useMemo(
    () => `${title}. ${lines.map((line) => `${line.name} ${number(line.curve.last)}`).join(", ")}`,
    // eslint-disable-next-line react-hooks/exhaustive-deps
    [title, version],
  );

  return (
    <figure className="chart" aria-labelledby={heading}>
      <figcaption className="row spread">
        <h3 id={heading}>{title}</h3>
        <span className="row small muted">
          {lines.map((line) => (
            <span key={line.name} className={`key line-${line.color}${line.dashed ? " dashed" : ""}`}>
              {line.name} {number(line.curve.last)}
            </span>
          ))}
          {hidden > 0 && <span>{t.job.hiddenPoints(hidden)}</span>}
          <button type="button" className="button plain" aria-pressed={table} onClick={() => setTable(!table)}>
            {t.job.table}
          </button>
        </span>
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
        onKeyDown={(event) => {
          const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 };
          const by = steps[event.key];
          if (by === undefined) return;
          event.preventDefault();
          move(event.shiftKey ? by * 10 : by);
        }}
      />
      <p className="visually-hidden" aria-live="polite">
        {cursor}
      </p>
      {table && <Table lines={lines} />}
    </figure>
  );
}

function valueAt(made: uPlot, line: Line, lines: readonly Line[], look: Look, index: number) {
  let column = 1;
  for (const each of lines) {
    if (each === line) break;
    column += look.smoothing > 0 && isSmoothable(each) ? 2 : 1;
  }
  return made.data[column]?.[index] ?? undefined;
}

const ROWS = 200;

function Table({ lines }: { lines: readonly Line[] }) {
  return (
    <div className="scroll">
      {lines.map((line) => (
        <table key={line.name}>
          <caption className="small muted">{line.name}</caption>
          <tbody>
            {[...line.curve.x.slice(-ROWS)].map((step, index) => (
              <tr key={step}>
                <td className="number">{step}</td>
                <td className="number">{number(line.curve.values[Math.max(0, line.curve.length - ROWS) + index])}</td>
              </tr>
            ))}
          </tbody>
        </table>
      ))}
    </div>
  );
}

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

interface Current {
  current: { range: [number, number] | null; marks: readonly Mark[]; onRange: Props["onRange"] };
}

function options(lines: readonly Line[], look: Look, width: number, state: Current): uPlot.Options {
  const axis: uPlot.Axis = {
    stroke: color("--muted"),
    grid: { stroke: color("--border"), width: 1 },
    ticks: { show: false },
    font: `12px ${token("--font")}`,
  };
  const tick = (values: readonly (number | null)[]) => values.map((value) => (value === null ? "" : number(value)));
  return {
    width,
    height: HEIGHT,
    scales: {
      x: { time: false },
      y: look.log
        ? { distr: 3, range: (_plot, min, max) => uPlot.rangeLog(min > 0 ? min : 1e-6, max > 0 ? max : 1, 10, true) }
        : { range: (_plot, min, max) => padded(min, max) },
    },
    axes: [
      { ...axis, values: (_plot, values) => tick(values) },
      { ...axis, size: 64, values: (_plot, values) => tick(values) },
    ],
    legend: { show: false },
    cursor: { drag: { x: true, y: false, setScale: false }, sync: { key: "job" }, points: { size: 6 } },
    series: [{}, ...lines.flatMap((line) => seriesOf(line, look))],
    hooks: {
      setSelect: [
        (plot) => {
          if (plot.select.width < 4) return;
          const from = plot.posToVal(plot.select.left, "x");
          const to = plot.posToVal(plot.select.left + plot.select.width, "x");
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
          state.current.onRange([from, to]);
        },
      ],
      ready: [(plot) => plot.over.addEventListener("dblclick", () => state.current.onRange(null))],
      draw: [(plot) => look.axis === "step" && drawMarks(plot, state.current.marks)],
    },
  };
}

function padded(min: number | null, max: number | null): [number, number] {
  if (min === null || max === null) return [0, 1];
  const room = (max - min || Math.abs(max) || 1) * 0.08;
  return [min - room, max + room];
}

function seriesOf(line: Line, look: Look): uPlot.Series[] {
  const stroke = color(`--line-${line.color}`);
  const sparse = line.curve.length < 200;
  const base: uPlot.Series = {
    stroke,
    width: 1.5,
    spanGaps: true,
    points: { show: sparse, size: 4 },
    ...(line.dashed ? { dash: [6, 4] } : {}),
  };
  if (look.smoothing === 0 || !isSmoothable(line)) return [base];
  const faint = stroke.replace(/^rgb\((.*)\)$/, "rgb($1 / 0.25)").replace(/,/g, " ");
  return [{ ...base, stroke: faint, width: 1, points: { show: false } }, { ...base, points: { show: false } }];
}

const SIGNS: Record<Mark["kind"], string> = { checkpoint: "·", best: "★", attempt: "↻", oom: "▼", rollback: "↶" };

function drawMarks(plot: uPlot, marks: readonly Mark[]) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.fillStyle = color("--muted");
  ctx.strokeStyle = color("--border");
  ctx.font = `${12 * devicePixelRatio}px ${token("--font")}`;
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
