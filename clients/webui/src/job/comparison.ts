/** What several jobs are compared by: best values with their difference to the first job, and differing settings. */

import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { isLessBetter, MAIN } from "../metrics";
import { leaves, shortPath } from "./leaves";

/** Most jobs that are compared at once: as many as there are colours for lines. */
export const MOST = 5;

export interface Cell {
  value: number;
  step: number;
  /** To the baseline; undefined of the baseline itself, and where one of both is missing. */
  difference: number | undefined;
  isBetter: boolean;
}

export interface BestRow {
  name: string;
  cells: (Cell | undefined)[];
}

/** The best values of each metric that says how good a model is; the first job is the baseline. */
export function bestRows(jobs: readonly JobJson[]): BestRow[] {
  const isMain = (name: string) => (MAIN as readonly string[]).indexOf(name);
  const names = [...new Set(jobs.flatMap((job) => Object.keys(job.metrics ?? {})))]
    .filter((name) => isMain(name) >= 0)
    .sort((a, b) => isMain(a) - isMain(b));
  return names.map((name) => {
    const baseline = jobs[0]?.metrics?.[name]?.best;
    return { name, cells: jobs.map((job, index) => cellOf(job, name, index === 0 ? undefined : baseline)) };
  });
}

function cellOf(job: JobJson, name: string, baseline: number | string | undefined): Cell | undefined {
  const found = job.metrics?.[name];
  if (!found) return undefined;
  // Proto3 JSON leaves out zeros.
  const value = Number(found.best ?? 0);
  const difference = baseline === undefined ? undefined : value - Number(baseline);
  return { value, step: Number(found.bestStep ?? 0), difference, isBetter: isLessBetter(name) ? (difference ?? 0) < 0 : (difference ?? 0) > 0 };
}

export interface SettingRow {
  path: string;
  values: (string | undefined)[];
  differs: boolean;
}

/** Every setting of any of the jobs, by its path below the kind of work. */
export function settingRows(jobs: readonly JobJson[]): SettingRow[] {
  const all = jobs.map((job) => new Map(leaves(job.resolvedSpec ?? job.spec)));
  const paths = [...new Set(all.flatMap((settings) => [...settings.keys()]))];
  return paths.map((path) => {
    const values = all.map((settings) => settings.get(path));
    return { path: shortPath(path), values, differs: new Set(values).size > 1 };
  });
}

/** The ids of an address: at most five, each once. */
export const idsOf = (search: URLSearchParams) => [...new Set(search.getAll("job"))].filter(Boolean).slice(0, MOST);

export const compareUrl = (ids: readonly string[]) => `/compare?${ids.map((id) => `job=${encodeURIComponent(id)}`).join("&")}`;
