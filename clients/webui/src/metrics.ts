/** What metrics are called, which way is better, and which are worth a comparison. */

import { number, percent } from "./format";
import type { Messages } from "./i18n/en";

type Stage = "train" | "eval" | "base";

/** "eval/ap50/cat" is stage "eval", measure "ap50", part "cat". */
export function partsOf(name: string): { stage: Stage | undefined; measure: string; part: string } {
  const [first = "", measure = "", ...rest] = name.split("/");
  if (first === "train" || first === "eval" || first === "base") return { stage: first, measure, part: rest.join("/") };
  return { stage: undefined, measure: first, part: [measure, ...rest].filter(Boolean).join("/") };
}

export const measureName = (t: Messages, measure: string) => t.measures[measure] ?? sentence(measure.replaceAll("_", " "));

const sentence = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

/** "Training loss", "Accuracy", "Base model accuracy". */
export function metricName(t: Messages, name: string): string {
  const { stage, measure, part } = partsOf(name);
  const called = measureName(t, measure) + (part && ` · ${part}`);
  const needsStage = stage === "base" || measure.endsWith("loss");
  return stage && needsStage ? t.metricOf[stage](called) : called;
}

/** Whether less is better: of losses and of perplexity. */
export const isLessBetter = (name: string) => /loss|perplexity/.test(name);

/** Metrics whose best value says how good a model is, main ones first. */
export const MAIN = [
  "eval/accuracy_top1",
  "eval/accuracy_top5",
  "eval/map50_95",
  "eval/map50",
  "eval/precision",
  "eval/recall",
  "eval/token_accuracy",
  "eval/perplexity",
  "eval/loss",
  "eval/clip_score",
  "train/loss",
] as const;

/** Whether a metric is a share from 0 to 1. */
export const isShareOf = (name: string) => /accuracy|agreement|precision|recall|map50|ap50/.test(name);

/** A value as people say it: shares as percentages, everything else as a number. */
export const metricValue = (name: string, value: number | undefined) =>
  value !== undefined && isShareOf(name) ? percent(value, 1) : number(value);
