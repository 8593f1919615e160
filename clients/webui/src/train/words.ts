/** How settings and their values are said in the reader's language. */

import type { Messages } from "../i18n/en";
import { textOf } from "./draft";
import type { Field } from "./schema";

const leaf = (path: string) => path.slice(path.lastIndexOf(".") + 1);

export const labelOf = (t: Messages, path: string) => (t.fields[path] ?? t.fields[leaf(path)])?.[0] ?? path;
export const hintOf = (t: Messages, path: string) => (t.fields[path] ?? t.fields[leaf(path)])?.[1] ?? "";

/** Any field's name, the dataset's and the base model's too. */
export function fieldName(t: Messages, path: string): string {
  if (path === "dataset" || path === "baseModel") return t.training[path];
  return labelOf(t, path);
}

/** A field's unit, where its name does not say it already. */
export function unitOf(t: Messages, field: Field): string {
  const unit = field.unit && (t.units[field.unit] ?? field.unit);
  return labelOf(t, field.path).toLowerCase().includes(unit.toLowerCase()) ? "" : unit;
}

/** A value for people: "cosine", "on", "1e-4". */
export function valueText(t: Messages, value: unknown): string {
  if (typeof value === "boolean") return value ? t.training.on : t.training.off;
  if (value === "true" || value === "false") return value === "true" ? t.training.on : t.training.off;
  if (typeof value === "string" && t.choices[value]) return t.choices[value];
  return textOf(value);
}

/** "8–64", "at most 0.2"; empty where nothing is usual. */
export function usualRange(t: Messages, { usualMin, usualMax }: Field): string {
  if (usualMin !== undefined && usualMax !== undefined) return `${textOf(usualMin)}–${textOf(usualMax)}`;
  if (usualMin !== undefined) return t.training.atLeast(textOf(usualMin));
  return usualMax === undefined ? "" : t.training.atMost(textOf(usualMax));
}

export function isUnusual(field: Field, text: string): boolean {
  const value = Number(text);
  if (!text.trim() || !Number.isFinite(value)) return false;
  return (field.usualMin !== undefined && value < field.usualMin) || (field.usualMax !== undefined && value > field.usualMax);
}

/** What is wrong with a number in the reader's language, where it is beyond the field's bounds; undefined where it is not. */
export function outsideOf(t: Messages, { bounds }: Field, text: string): string | undefined {
  const value = Number(text);
  if (!t.training.outside || !text.trim() || !Number.isFinite(value)) return undefined;
  const { above = -Infinity, least = -Infinity, below = Infinity, most = Infinity } = bounds;
  const isInside = value > above && value >= least && value < below && value <= most;
  return isInside ? undefined : t.training.outside(bounds, text.trim());
}

/** The element of a field, to go to. */
export const elementId = (path: string) => `field-${path.replaceAll(".", "-")}`;

/** The heading below which a setting stands among the advanced ones. */
export function groupOf(path: string): string {
  const parts = path.split(".");
  return parts.length === 1 ? "other" : parts[parts.length - 2]!;
}
