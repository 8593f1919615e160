/** What a report's findings come to: groups by code, the files they are about, and where a filter leaves them. */

import type { DatasetJson, FindingJson, SeverityJson, ValidationReportJson } from "../gen/tuneyard/v1/dataset_pb";

export interface Group {
  code: string;
  severity: SeverityJson;
  remedy: string;
  /** How often it was found, listed or not. */
  count: number;
  findings: FindingJson[];
}

export interface Filter {
  severity?: string;
  split?: string;
  class?: string;
}

/** Groups in the report's order: gravest first. */
export function grouped(report: ValidationReportJson | undefined, filter: Filter = {}): Group[] {
  const groups = new Map<string, Group>();
  const filtered = Boolean(filter.split || filter.class);
  for (const finding of report?.findings ?? []) {
    if (!fits(finding, filter)) continue;
    const code = finding.code ?? "";
    let group = groups.get(code);
    if (!group) {
      const severity = finding.severity ?? "SEVERITY_INFO";
      group = { code, severity, remedy: finding.remedy ?? "", count: 0, findings: [] };
      groups.set(code, group);
    }
    group.findings.push(finding);
  }
  for (const group of groups.values())
    group.count = filtered ? group.findings.length : Math.max(group.findings.length, Number(report?.counts?.[group.code] ?? 0));
  return [...groups.values()];
}

function fits(finding: FindingJson, filter: Filter): boolean {
  if (filter.severity && finding.severity !== filter.severity) return false;
  const parts = (finding.path ?? "").split("/");
  return (!filter.split || parts.includes(filter.split)) && (!filter.class || parts.includes(filter.class));
}

/** How many findings of each severity, listed or not. */
export function severities(report: ValidationReportJson | undefined): Record<"error" | "warning" | "info", number> {
  const found = { error: 0, warning: 0, info: 0 };
  for (const group of grouped(report)) {
    const kind = severityKind(group.severity);
    found[kind] += group.count;
  }
  return found;
}

export const severityKind = (severity: SeverityJson | undefined): "error" | "warning" | "info" =>
  severity === "SEVERITY_ERROR" ? "error" : severity === "SEVERITY_WARNING" ? "warning" : "info";

/** The other file of a pair, such as of two copies: the second quoted path in the message. */
export function otherPath(finding: FindingJson): string | undefined {
  const quoted = [...(finding.message ?? "").matchAll(/'([^']+\.[A-Za-z0-9]{1,5})'/g)].map((match) => match[1]);
  return quoted.find((path) => path !== finding.path);
}

type Messages = Readonly<Record<string, (figures: Readonly<Record<string, string | undefined>>) => string>>;

/** What was found, said in the reader's language from its figures; undefined where that language has no words for it. */
export function ownMessage(finding: FindingJson, words: Messages): string | undefined {
  const figures = finding.figures ?? {};
  return Object.keys(figures).length ? words[finding.code ?? ""]?.(figures) : undefined;
}

/** The message without the path that stands beside it anyway. */
export function shortMessage(finding: FindingJson): string {
  const told = finding.message ?? "";
  const own = `'${finding.path}' `;
  if (!finding.path || !told.startsWith(own)) return told;
  const rest = told.slice(own.length);
  return rest.charAt(0).toUpperCase() + rest.slice(1);
}

/** The files that can be left out because of a group; lines of JSON Lines are skipped by themselves. */
export function filesToLeaveOut(dataset: DatasetJson, group: Group): number {
  if (dataset.format === "DATASET_FORMAT_JSONL") return 0;
  const paths = new Set(group.findings.map((finding) => finding.path).filter((path) => path && path !== "data.yaml"));
  return paths.size && group.count > group.findings.length ? group.count : paths.size;
}

/** What a version without a group's files is asked for by: the code, so that files go too that the report does not list;
 * the files themselves where a filter has picked some. */
export const leaveOut = (group: Group, filtered: boolean) =>
  filtered ? { excludePaths: [...new Set(group.findings.flatMap(({ path }) => path ?? []))] } : { excludeCodes: [group.code] };

/** "LINE_NOT_JSON" is "Line not JSON". */
export function titleOf(code: string, known: Readonly<Record<string, string>>): string {
  if (known[code]) return known[code];
  const words = code.toLowerCase().replaceAll("_", " ").replace(/\b(yaml|json|cmyk|utf8)\b/g, (word) => word.toUpperCase());
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** The label file of a picture in YOLO layout, by the rule that readers of the format use. */
export function labelOf(image: string): string {
  const parts = image.split("/");
  const at = parts.lastIndexOf("images");
  if (at >= 0) parts[at] = "labels";
  return parts.join("/").replace(/\.[^./]+$/, ".txt");
}

/** What a picture's path begins with, of a label file. */
export function imagePrefixOf(label: string): string {
  const parts = label.split("/");
  const at = parts.lastIndexOf("labels");
  if (at >= 0) parts[at] = "images";
  return parts.join("/").replace(/\.[^./]+$/, ".");
}

export interface Box {
  line: number;
  label: number;
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Boxes of a label file's lines, as shares of the picture; lines that are no boxes are left out. */
export function boxesOf(lines: readonly { line?: string; text?: string }[]): Box[] {
  const found: Box[] = [];
  for (const { line, text } of lines) {
    const [label, x, y, width, height, ...rest] = (text ?? "").trim().split(/\s+/).map(Number);
    const all = [label, x, y, width, height];
    if (rest.length || all.some((value) => value === undefined || !Number.isFinite(value))) continue;
    found.push({ line: Number(line), label: label!, x: x! - width! / 2, y: y! - height! / 2, width: width!, height: height! });
  }
  return found;
}
