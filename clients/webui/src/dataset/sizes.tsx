/** How large a dataset's pictures are: by their longer side. */

import { count } from "../format";
import type { ValidationReportJson } from "../gen/tuneyard/v1/dataset_pb";
import { useT } from "../i18n";
import { Histogram, type Bin } from "../ui/histogram";

export function Sizes({ report }: { report: ValidationReportJson | undefined }) {
  const t = useT();
  const bins = binsOf(report?.sides ?? {});
  if (!bins.length) return null;
  return (
    <section className="stack tight">
      <h2>{t.datasets.sides}</h2>
      <Histogram label={t.datasets.sides} bins={bins} />
    </section>
  );
}

/** One bin for each power of two from the smallest to the largest, those without pictures included. */
export function binsOf(sides: Readonly<Record<string, number | string>>): Bin[] {
  const known = new Map(Object.entries(sides).map(([side, images]) => [Number(side), Number(images)]));
  if (!known.size) return [];
  const bins: Bin[] = [];
  for (let side = Math.min(...known.keys()); side <= Math.max(...known.keys()); side *= 2)
    bins.push({ label: side > 1 ? `${count(side / 2 + 1)}–${count(side)} px` : "1 px", count: known.get(side) ?? 0 });
  return bins;
}
