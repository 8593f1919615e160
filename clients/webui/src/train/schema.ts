/** What fields a training spec has, read from the server's own description, so that no bound or unit is written twice. */

import { TASK_OF, type Task } from "./tasks";

export type FieldKind = "integer" | "number" | "boolean" | "choice" | "list" | "map" | "text";

export interface Field {
  /** The way through the spec's JSON: "hyperparameters.learningRate". */
  path: string;
  kind: FieldKind;
  /** Of a 64-bit number, which JSON carries as text. */
  isLong: boolean;
  options: readonly string[];
  unit: string;
  usualMin: number | undefined;
  usualMax: number | undefined;
  guide: string;
  /** What the server refuses anything beyond. */
  bounds: Bounds;
}

export interface Bounds {
  above?: number;
  least?: number;
  below?: number;
  most?: number;
}

interface Described {
  type?: string;
  format?: string;
  enum?: string[];
  $ref?: string;
  allOf?: Described[];
  properties?: Record<string, Described>;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
  "x-minimum"?: number;
  "x-maximum"?: number;
  "x-unit"?: string;
  "x-usual-min"?: number;
  "x-usual-max"?: number;
  "x-guide"?: string;
}

export interface OpenApi {
  components: { schemas: Record<string, Described> };
}

/** The fields of a task's spec in the order of the protos, but for the dataset and the base model. */
export function fieldsOf(document: OpenApi, task: Task): Field[] {
  const own = TASK_OF[task].field;
  const others = Object.values(TASK_OF).map(({ field }) => field as string);
  const { schemas } = document.components;
  const walk = (name: string, prefix: string): Field[] =>
    Object.entries(schemas[name]?.properties ?? {}).flatMap(([key, described]) => {
      if (!prefix && (key === "dataset" || key === "baseModel" || (others.includes(key) && key !== own))) return [];
      const path = prefix ? `${prefix}.${key}` : key;
      const to = referred(described);
      const inner = to === undefined ? undefined : schemas[to];
      if (to !== undefined && inner?.properties) return walk(to, path);
      return [field(path, described, inner)];
    });
  return walk("TrainingSpec", "");
}

/** A setting that names something that is there, as a choice; as a text where there is nothing to choose from. */
export const choosing = (field: Field, options: readonly string[]): Field => (options.length ? { ...field, kind: "choice", options } : field);

const referred = (described: Described) => (described.$ref ?? described.allOf?.[0]?.$ref)?.split("/").pop();

function field(path: string, described: Described, inner: Described | undefined): Field {
  const hints = { ...described.allOf?.[0], ...described };
  return {
    path,
    kind: kindOf(described, inner),
    isLong: described.format === "int64",
    options: (inner?.enum ?? []).filter((option) => !option.endsWith("_UNSPECIFIED")),
    unit: hints["x-unit"] ?? "",
    usualMin: hints["x-usual-min"],
    usualMax: hints["x-usual-max"],
    guide: hints["x-guide"] ?? "",
    bounds: boundsOf(hints),
  };
}

function boundsOf(hints: Described): Bounds {
  const found: Record<keyof Bounds, number | undefined> = {
    above: hints.exclusiveMinimum,
    least: hints.minimum ?? hints["x-minimum"],
    below: hints.exclusiveMaximum,
    most: hints.maximum ?? hints["x-maximum"],
  };
  return Object.fromEntries(Object.entries(found).filter(([, bound]) => bound !== undefined)) as Bounds;
}

function kindOf(described: Described, inner: Described | undefined): FieldKind {
  if (inner?.enum) return "choice";
  if (described.type === "integer" || described.format === "int64") return "integer";
  if (described.type === "number") return "number";
  if (described.type === "boolean") return "boolean";
  if (described.type === "array") return "list";
  return described.type === "object" ? "map" : "text";
}

/** A path as the server writes it in violations, without the request's root: "spec.data_split.x_y" is "dataSplit.xY". */
export const jsonPath = (path: string) =>
  path.replace(/^(spec\.)?(training\.)?/, "").replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
