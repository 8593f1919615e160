/** How many samples each class has, per split: one bar a class, all on one scale. */

import type { ValidationReportJson } from "../gen/tuneyard/v1/dataset_pb";
import { count } from "../format";
import { useT } from "../i18n";

export function Classes({ report }: { report: ValidationReportJson | undefined }) {
  const t = useT();
  const splits = (report?.splits ?? []).filter(({ samplesPerClass }) => Object.keys(samplesPerClass ?? {}).length > 0);
  const classes = report?.classes ?? [];
  if (!splits.length || !classes.length) return null;
  const most = Math.max(1, ...splits.flatMap(({ samplesPerClass }) => Object.values(samplesPerClass ?? {}).map(Number)));
  const boxes = splits.some(({ boxesPerClass }) => Object.keys(boxesPerClass ?? {}).length > 0);
  return (
    <section className="stack">
      <h2>{boxes ? t.datasets.perClassBoxes : t.datasets.perClass}</h2>
      <div className="scroll">
        <table className="bars">
          <thead>
            <tr>
              <th>{t.datasets.class}</th>
              {splits.map(({ split }) => (
                <th key={split}>{split}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {classes.map((name) => (
              <tr key={name}>
                <th scope="row" className="break">
                  {name}
                </th>
                {splits.map(({ split, samplesPerClass }) => {
                  const samples = Number(samplesPerClass?.[name] ?? 0);
                  return (
                    <td key={split}>
                      <span className="bar">
                        <span style={{ width: `${(100 * samples) / most}%` }} />
                        {count(samples)}
                      </span>
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
