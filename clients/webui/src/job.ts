/** What a job is called and what it makes, from its record. */

import { idOf } from "./api/http";
import type { JobJson } from "./gen/tuneyard/v1/job_pb";
import type { Messages } from "./i18n/en";

const TASKS = { imageClassifier: "image_classifier", objectDetector: "object_detector", textToImageLora: "text_to_image_lora", languageModel: "language_model" } as const;

export type JobKind = (typeof TASKS)[keyof typeof TASKS] | "merge" | "export" | "evaluate";

export function kindOfJob(job: JobJson): JobKind | undefined {
  const spec = job.spec;
  if (spec?.merge) return "merge";
  if (spec?.export) return "export";
  if (spec?.evaluate) return "evaluate";
  const training = spec?.training;
  for (const [field, kind] of Object.entries(TASKS)) if (training && field in training) return kind;
  return undefined;
}

/** The job that a merge, an export or an evaluation is made from. */
export const sourceOf = (job: JobJson) => job.spec?.merge?.sourceJob ?? job.spec?.export?.sourceJob ?? job.spec?.evaluate?.sourceJob;

/** "digits-resnet18"; of a merge, an export or an evaluation without a name of its own "Merge · 019b2…", after its source. */
export function jobTitle(t: Messages, job: JobJson): string {
  const training = job.spec?.training;
  if (job.labels?.name) return job.labels.name;
  if (training) return `${idOf(training.dataset)}-${(training.baseModel ?? "").split("/").pop()}`;
  const kind = kindOfJob(job);
  return `${kind ? t.kinds[kind] : ""} · ${idOf(sourceOf(job)).slice(0, 13)}`;
}

/** The steps that a job plans to take; 1 as long as that is unknown. */
export const plannedStepsOf = (job: JobJson) => Number(job.progress?.totalSteps ?? job.plannedSteps ?? 1) || 1;
