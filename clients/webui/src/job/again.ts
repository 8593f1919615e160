/** What to run a job again with: the changes that a failure or an advice asks for, and the spec that they make. */

import type { AdviceEventJson } from "../gen/tuneyard/v1/event_pb";
import type { JobJson, JobSpecJson } from "../gen/tuneyard/v1/job_pb";
import { jsonPath } from "../train/schema";
import { valueAt } from "../train/draft";

/** New values by path in the training's JSON: {"hyperparameters.batchSize": 8}. */
export type Changes = Readonly<Record<string, unknown>>;

/** The changes that an advice carries. */
export function changesOfAdvice(advice: AdviceEventJson | undefined): Changes {
  return Object.fromEntries(Object.entries(advice?.changes ?? {}).map(([path, literal]) => [jsonPath(path), JSON.parse(literal) as unknown]));
}

/** What a failed job's reason asks for; nothing where no setting would help. */
export function changesOfFailure(job: JobJson): Changes {
  const training = job.resolvedSpec?.training ?? job.spec?.training;
  const number = (path: string) => Number(valueAt(training, path) ?? 0);
  const batch = number("hyperparameters.batchSize");
  const rate = number("hyperparameters.learningRate");
  if (job.error?.reason === "ERROR_REASON_OUT_OF_MEMORY" && batch > 1) {
    const smaller = Math.floor(batch / 2);
    const micro = Math.max(1, number("hyperparameters.gradientAccumulationSteps"));
    // As many samples a step as before.
    return { "hyperparameters.batchSize": smaller, "hyperparameters.gradientAccumulationSteps": Math.ceil((batch * micro) / smaller) };
  }
  if (job.error?.reason === "ERROR_REASON_DIVERGED" && rate > 0) return { "hyperparameters.learningRate": Number((rate / 10).toPrecision(3)) };
  return {};
}

interface Node {
  [name: string]: unknown;
}

/** A training's spec with changes. */
export function specWith(spec: JobSpecJson | undefined, changes: Changes): JobSpecJson {
  const made = structuredClone(spec ?? {});
  for (const [path, value] of Object.entries(changes)) {
    const names = `training.${path}`.split(".");
    const last = names.pop()!;
    let node = made as Node;
    for (const name of names) node = (node[name] ??= {}) as Node;
    node[last] = value;
  }
  return made;
}
