/**
 * What was chosen to be imported: the files of a model, its family by them, and which of them are needed. A first look
 * before anything is sent; whether the files are sound is for the trainer to say. The command line has the same rules in
 * `model_folders.py`; one table tests both.
 */

import type { Packed } from "../api/zip";
import type { FamilyJson } from "../gen/tuneyard/v1/training_pb";

export type Fault = "gguf" | "adapter" | "nothing" | "untrainable";

export interface Chosen {
  /** What it is called: the file's name or the folder's. */
  name: string;
  /** Paths are relative to the folder; one file stands alone. */
  files: readonly Packed[];
  isFolder: boolean;
}

const JUNK = /(^|\/)(__MACOSX|\.DS_Store|Thumbs\.db|desktop\.ini)(\/|$)/;
const OTHER_WEIGHTS = /\.(bin|pt|pth|gguf|onnx|h5|msgpack|ot|tflite)$/i;
const SAFE = /\.safetensors$/i;
const PIPELINE = "model_index.json";
const CAUSAL = /(ForCausalLM|LMHeadModel)$/;
const IMAGES = /ForImageClassification$/;
/** What scores the pictures of text-to-image models. */
const CLIP = "clip";
/** How the header of a text-to-image checkpoint in one file names the weights of its network. */
const CHECKPOINT = '"model.diffusion_model.';
const MAX_HEADER = 16 << 20;

const folderOf = (path: string) => path.slice(0, path.lastIndexOf("/") + 1);
const fileOf = (path: string) => path.slice(path.lastIndexOf("/") + 1);

/** What an input or a drop gave; the folder that all files lie in is no part of their paths. */
export function chosenOf(given: readonly Packed[]): Chosen | undefined {
  const files = given.filter(({ path }) => !JUNK.test(path));
  const first = files[0];
  if (!first) return undefined;
  const top = first.path.split("/")[0]!;
  const isFolder = first.path.includes("/") && files.every(({ path }) => path.startsWith(`${top}/`));
  if (!isFolder) return { name: files.length === 1 ? first.path : "model", files, isFolder: files.length > 1 };
  return { name: top, isFolder, files: files.map(({ path, file }) => ({ path: path.slice(top.length + 1), file })) };
}

/** The family that takes the files, undefined where they do not tell it; or what is wrong with them. */
export async function familyOf({ files, isFolder }: Chosen): Promise<FamilyJson | Fault | undefined> {
  const at = (path: string) => files.find((each) => each.path === path);
  const top = files.filter(({ path }) => !path.includes("/"));
  if (!isFolder) {
    const { path, file } = files[0]!;
    if (/\.gguf$/i.test(path)) return "gguf";
    if (/\.zip$/i.test(path)) return undefined;
    return SAFE.test(path) && (await isCheckpoint(file)) ? "FAMILY_DIFFUSION" : "FAMILY_VISION";
  }
  if (at(PIPELINE)) return "FAMILY_DIFFUSION";
  for (const { path, file } of top) if (SAFE.test(path) && (await isCheckpoint(file))) return "FAMILY_DIFFUSION";
  const config = at("config.json");
  if (!config) {
    if (at("adapter_config.json")) return "adapter";
    return top.some(({ path }) => SAFE.test(path) || OTHER_WEIGHTS.test(path)) ? "FAMILY_VISION" : "nothing";
  }
  const { model_type: type, architectures } = await read(config.file);
  if (type === CLIP) return "FAMILY_DIFFUSION";
  const names = Array.isArray(architectures) ? architectures.map(String) : [];
  if (names.some((name) => CAUSAL.test(name))) return "FAMILY_LLM";
  return names.length && type && !names.some((name) => IMAGES.test(name)) ? "untrainable" : "FAMILY_VISION";
}

async function read(config: Blob): Promise<{ model_type?: unknown; architectures?: unknown }> {
  try {
    return (JSON.parse(await config.slice(0, MAX_HEADER).text()) as object | null) ?? {};
  } catch {
    return {};
  }
}

async function isCheckpoint(file: Blob): Promise<boolean> {
  if (file.size < 8) return false;
  const length = Number(new DataView(await file.slice(0, 8).arrayBuffer()).getBigUint64(0, true));
  return length <= MAX_HEADER && (await file.slice(8, 8 + length).text()).includes(CHECKPOINT);
}

/** The files that the model is incomplete without: doubled weights stay behind. */
export function neededOf(family: FamilyJson, { files, isFolder }: Chosen): readonly Packed[] {
  if (!isFolder || (family !== "FAMILY_LLM" && family !== "FAMILY_DIFFUSION")) return files;
  const names = files.map(({ path }) => path);
  return files.filter(({ path }) => (family === "FAMILY_LLM" ? isNeeded(path, names) : isNeededOfPipeline(path, names)));
}

function isNeeded(path: string, all: readonly string[]): boolean {
  if (path.includes("/")) return false;
  const hasSafe = all.some((name) => /^model[^/]*\.safetensors$/.test(name));
  if (SAFE.test(path)) return !(hasSafe && path.startsWith("consolidated"));
  return !(hasSafe && OTHER_WEIGHTS.test(path));
}

function isNeededOfPipeline(path: string, all: readonly string[]): boolean {
  const beside = all.filter((name) => folderOf(name) === folderOf(path) && SAFE.test(name)).map(fileOf);
  if (OTHER_WEIGHTS.test(path)) return beside.length === 0;
  if (!SAFE.test(path)) return true;
  const dots = (name: string) => name.split(".").length - 1;
  if (!path.includes("/")) return !all.some((name) => /^[^/]+\/[^/]+\.safetensors$/.test(name));
  return !(dots(fileOf(path)) > 1 && beside.some((name) => dots(name) === 1));
}

/** The files of an input, whether one or a folder. */
export const filesOf = (list: Iterable<File>): Packed[] =>
  [...list].map((file) => ({ path: file.webkitRelativePath || file.name, file }));

/** The files of a drop, folders with all that lies in them. */
export async function filesOfDrop(items: DataTransferItemList): Promise<Packed[]> {
  // The list is empty once the event is over.
  const entries = [...items].map((item) => item.webkitGetAsEntry()).filter((entry) => entry !== null);
  const found = await Promise.all(entries.map((entry) => filesBelow(entry)));
  return found.flat();
}

async function filesBelow(entry: FileSystemEntry): Promise<Packed[]> {
  const path = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    return [{ path, file }];
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  const below: Packed[] = [];
  for (;;) {
    // A reader tells a hundred at a time.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return below;
    for (const each of some) below.push(...(await filesBelow(each)));
  }
}
