/** What somebody has typed into a form so far: only that, nothing recommended; and the spec that it makes. */

import { newId, type FieldViolation } from "../api/http";
import type { TrainingSpecJson } from "../gen/tuneyard/v1/training_pb";
import type { Field } from "./schema";
import { TASK_OF, type Task } from "./tasks";

export interface Draft {
  task: Task;
  baseModel: string;
  /** "datasets/…", or nothing yet. */
  dataset: string;
  name: string;
  /** Typed values by path, as text. */
  values: Readonly<Record<string, string>>;
  /** One for each draft, so that two clicks or a lost answer make one job. */
  requestId: string;
  /** What the values were before a preset, to go back to. */
  before?: { label: string; values: Readonly<Record<string, string>>; baseModel: string } | undefined;
}

export type Action =
  | { type: "task"; task: Task }
  | { type: "baseModel" | "dataset" | "name"; text: string }
  | { type: "set"; path: string; text: string }
  | { type: "apply"; label: string; changes: Readonly<Record<string, string>> }
  | { type: "undo" }
  | { type: "load"; draft: Draft };

export const emptyDraft = (task: Task): Draft => ({
  task,
  baseModel: "",
  dataset: "",
  name: "",
  values: {},
  requestId: newId(),
});

export function reduce(draft: Draft, action: Action): Draft {
  // What is asked for changes, so it is another request.
  const fresh = { ...draft, requestId: newId() };
  switch (action.type) {
    case "task":
      return action.task === draft.task ? draft : { ...fresh, task: action.task, baseModel: "", dataset: "", before: undefined };
    case "baseModel":
    case "dataset":
    case "name":
      return draft[action.type] === action.text ? draft : { ...fresh, [action.type]: action.text };
    case "set":
      return { ...fresh, values: withValues(draft.values, { [action.path]: action.text }), before: undefined };
    case "apply":
      return {
        ...fresh,
        ...changed(draft, action.changes),
        before: { label: action.label, values: draft.values, baseModel: draft.baseModel },
      };
    case "undo": {
      if (!draft.before) return draft;
      const { values, baseModel } = draft.before;
      return { ...fresh, values, baseModel, before: undefined };
    }
    case "load":
      return action.draft;
  }
}

/** What a preset or another way that fits makes of a draft; the server may propose a smaller base model too. */
export function changed(draft: Draft, changes: Readonly<Record<string, string>>): Pick<Draft, "values" | "baseModel"> {
  const { baseModel, ...rest } = changes;
  return { values: withValues(draft.values, rest), baseModel: baseModel ?? draft.baseModel };
}

/** The values with some set; an empty text takes one out. */
function withValues(values: Draft["values"], changes: Readonly<Record<string, string>>): Draft["values"] {
  return Object.fromEntries(Object.entries({ ...values, ...changes }).filter(([, text]) => text !== ""));
}

interface Node {
  [name: string]: unknown;
}

/** The spec of a draft: what was typed and nothing else; and what cannot be sent because it is no number. */
export function specOf(draft: Draft, fields: readonly Field[], notANumber: string): { spec: TrainingSpecJson; violations: FieldViolation[] } {
  const spec: Node = { [TASK_OF[draft.task].field]: {} };
  const violations: FieldViolation[] = [];
  if (draft.dataset) spec["dataset"] = draft.dataset;
  if (draft.baseModel) spec["baseModel"] = draft.baseModel;
  for (const field of fields) {
    const text = draft.values[field.path]?.trim();
    if (!text) continue;
    const value = parsed(field, text);
    if (value === undefined) violations.push({ field: field.path, description: notANumber });
    else put(spec, field.path, value);
  }
  return { spec: spec as TrainingSpecJson, violations };
}

function put(spec: Node, path: string, value: unknown) {
  const names = path.split(".");
  const last = names.pop()!;
  let node = spec;
  for (const name of names) node = (node[name] ??= {}) as Node;
  node[last] = value;
}

function parsed(field: Field, text: string): unknown {
  switch (field.kind) {
    case "integer":
      if (!/^[+-]?\d+$/.test(text) && !Number.isInteger(Number(text))) return undefined;
      return field.isLong ? String(Number(text)) : Number(text);
    case "number":
      return Number.isFinite(Number(text)) ? Number(text) : undefined;
    case "boolean":
      return text === "true";
    case "list":
      return items(field, text);
    case "map":
      return mapOf(text);
    default:
      return text;
  }
}

/** Prompts stand one on a line, since they hold commas; everything else is separated by commas. */
export const isLines = (field: Field) => field.kind === "list" && field.path.endsWith("Prompts");

const items = (field: Field, text: string) =>
  text
    .split(isLines(field) ? "\n" : /[,，\s]+/)
    .map((item) => item.trim())
    .filter(Boolean);

/** "cat = 2, dog = 0.5". */
function mapOf(text: string): Record<string, number> | undefined {
  const pairs = text.split(/[,，\n]/).filter((pair) => pair.trim());
  const found = pairs.map((pair) => {
    const at = Math.max(pair.lastIndexOf("="), pair.lastIndexOf(":"));
    return [pair.slice(0, at).trim(), Number(pair.slice(at + 1))] as const;
  });
  return found.every(([name, weight]) => name && Number.isFinite(weight)) ? Object.fromEntries(found) : undefined;
}

/** The value at a path of a spec; undefined where there is none. */
export function valueAt(spec: unknown, path: string): unknown {
  let node: unknown = spec;
  for (const name of path.split(".")) {
    if (typeof node !== "object" || node === null) return undefined;
    node = (node as Node)[name];
  }
  return node;
}

/** A value as one would type it: "1e-4", "q_proj, v_proj". */
export function textOf(value: unknown): string {
  if (value === undefined || value === null) return "";
  if (Array.isArray(value)) return value.join(", ");
  if (typeof value === "number" && value !== 0 && Math.abs(value) < 1e-3) return value.toExponential().replace("e-0", "e-");
  if (typeof value === "object")
    return Object.entries(value)
      .map(([name, weight]) => `${name} = ${String(weight)}`)
      .join(", ");
  return String(value);
}

/** What a spec gives, as values of a draft: to train again with the settings of a job. */
export function valuesOf(spec: TrainingSpecJson, fields: readonly Field[]): Draft["values"] {
  const found: Record<string, string> = {};
  for (const field of fields) {
    const value = valueAt(spec, field.path);
    if (value !== undefined) found[field.path] = isLines(field) && Array.isArray(value) ? value.join("\n") : textOf(value);
  }
  return withValues(found, {});
}

/** Which task a spec is for. */
export function taskOf(spec: TrainingSpecJson): Task | undefined {
  return (Object.keys(TASK_OF) as Task[]).find((task) => TASK_OF[task].field in spec);
}

const KEY = "tuneyard.draft.";

/** The draft of a page as the tab remembers it, so that a reload loses nothing. */
export function recallDraft(page: string, otherwise: Task, memory: Pick<Storage, "getItem"> = sessionStorage): Draft {
  try {
    const kept = JSON.parse(memory.getItem(KEY + page) ?? "null") as Draft | null;
    if (kept && typeof kept.values === "object" && kept.task in TASK_OF) return kept;
  } catch {
    // Kept by another release: begin anew.
  }
  return emptyDraft(otherwise);
}

export const keepDraft = (page: string, draft: Draft, memory: Pick<Storage, "setItem"> = sessionStorage) =>
  memory.setItem(KEY + page, JSON.stringify(draft));
