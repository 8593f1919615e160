/** A panel as numbers: the newest rows on the page, all of them as a file. */

import { number } from "../format";
import type { Line } from "./panel";

const ROWS = 200;

export function Table({ lines }: { lines: readonly Line[] }) {
  return (
    <div className="scroll">
      {lines.map((line) => (
        <table key={`${line.label} ${line.name}`} data-metric={line.name}>
          <caption className="small muted">{line.label}</caption>
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

/** All points of all lines: "line,metric,step,epoch,time,value". */
export function csvOf(lines: readonly Line[]): string {
  const rows = ["line,metric,step,epoch,time,value\n"];
  for (const { label, name, curve } of lines) {
    const { x, values, epochs, times } = curve;
    for (let i = 0; i < curve.length; i++) {
      const time = times[i] ? new Date(times[i]!).toISOString() : "";
      rows.push(`${quoted(label)},${quoted(name)},${x[i]},${epochs[i]},${time},${values[i]}\n`);
    }
  }
  return rows.join("");
}

/** What a spreadsheet takes as text, a formula included. */
const quoted = (text: string) => {
  const safe = /^[=+\-@]/.test(text) ? `'${text}` : text;
  return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};
