/** How many there are of each size, as bars: with the numbers as text, for whoever sees no bars. */

import { count, percent } from "../format";

export interface Bin {
  /** "≤ 64". */
  label: string;
  count: number;
  /** Drawn in the colour of warnings: beyond a limit. */
  isOver?: boolean;
}

export function Histogram({ label, bins }: { label: string; bins: readonly Bin[] }) {
  const most = Math.max(1, ...bins.map((bin) => bin.count));
  const all = Math.max(1, bins.reduce((sum, bin) => sum + bin.count, 0));
  return (
    <table className="histogram">
      <caption className="visually-hidden">{label}</caption>
      <tbody>
        {bins.map((bin) => (
          <tr key={bin.label}>
            <th scope="row" className="number">
              {bin.label}
            </th>
            <td>
              <span className={bin.isOver ? "over" : undefined} style={{ width: `${(100 * bin.count) / most}%` }} />
            </td>
            <td className="number">{count(bin.count)}</td>
            <td className="number muted">{percent(bin.count / all)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Without the empty bins at both ends. */
export function trimmed(bins: readonly Bin[]): readonly Bin[] {
  const first = bins.findIndex((bin) => bin.count > 0);
  const last = bins.findLastIndex((bin) => bin.count > 0);
  return first < 0 ? [] : bins.slice(first, last + 1);
}
