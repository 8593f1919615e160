/** A job's request as something to keep or to send from elsewhere: JSON, curl, Python, the command line. */

import type { TrainingSpecJson } from "../gen/tuneyard/v1/training_pb";
import { taskOf } from "../train/draft";

/** One word for a shell, whatever is in it. */
const quoted = (text: string) => (/^[\w./:=,@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

export const asCurl = (spec: TrainingSpecJson, origin: string) =>
  `curl -X POST ${origin}/v1/jobs:train -H 'Content-Type: application/json' -d ${quoted(JSON.stringify({ spec }))}`;

export const asPython = (spec: TrainingSpecJson, origin: string) =>
  [
    "import requests",
    "",
    `spec = ${literal(spec, "")}`,
    `answer = requests.post("${origin}/v1/jobs:train", json={"spec": spec})`,
    "answer.raise_for_status()",
    'print(answer.json()["job"]["name"])',
    "",
  ].join("\n");

/** A JSON value as Python writes it. */
function literal(value: unknown, indent: string): string {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value !== "object") return JSON.stringify(value);
  const inner = `${indent}    `;
  const parts = Array.isArray(value)
    ? value.map((each) => literal(each, inner))
    : Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${literal(each, inner)}`);
  const [open, close] = Array.isArray(value) ? ["[", "]"] : ["{", "}"];
  return parts.length ? `${open}\n${parts.map((part) => `${inner}${part},\n`).join("")}${indent}${close}` : open + close;
}

const COMMANDS = {
  image_classifier: "image-classifier",
  object_detector: "object-detector",
  text_to_image_lora: "text-to-image-lora",
  language_model: "llm",
} as const;

/** A field's name in the protos: "bnb4bitComputeDtype" is "bnb_4bit_compute_dtype". */
const snake = (name: string) => name.replace(/[A-Z]|(?<=[a-z])\d/g, (each) => `_${each.toLowerCase()}`);

export function asCommand(spec: TrainingSpecJson): string {
  const task = taskOf(spec);
  if (!task) return "";
  const { dataset, baseModel, ...rest } = spec;
  const words = ["tuneyard", "train", COMMANDS[task], "--dataset", dataset ?? "", "--base-model", baseModel ?? ""];
  const walk = (node: object, prefix: string) => {
    for (const [name, value] of Object.entries(node) as [string, unknown][]) {
      const path = `${prefix}${snake(name)}`;
      if (typeof value === "object" && value !== null && !Array.isArray(value)) walk(value, `${path}.`);
      else words.push("--set", `${path}=${JSON.stringify(value)}`);
    }
  };
  walk(rest, "");

  return words.map(quoted).join(" ");
}
