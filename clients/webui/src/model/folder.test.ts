import { describe, expect, it } from "vitest";

import cases from "../../../../tests/support/model_folders.json";
import type { FamilyJson } from "../gen/tuneyard/v1/training_pb";
import { chosenOf, familyOf, neededOf } from "./folder";

interface Case {
  tells: string;
  /** The one file, where it is no folder. */
  file?: string;
  files: Record<string, unknown>;
  family?: FamilyJson;
  fault?: string;
  left?: string[];
}

const HEADER = new TextEncoder().encode('{"model.diffusion_model.x": {}}');
const CONTENTS: Record<string, BlobPart[]> = { weights: ["x"], checkpoint: [Uint8Array.from([HEADER.length, 0, 0, 0, 0, 0, 0, 0]), HEADER] };
const bytesOf = (content: unknown) => (typeof content === "string" ? CONTENTS[content]! : [JSON.stringify(content)]);

const given = (...paths: string[]) => paths.map((path) => ({ path, file: new Blob(["x"]) }));
const paths = (files: readonly { path: string }[]) => files.map(({ path }) => path);

describe("chosenOf", () => {
  it("takes the folder off the paths, and leaves out what file managers leave behind", () => {
    const chosen = chosenOf(given("m/config.json", "m/.DS_Store", "m/unet/model.safetensors"))!;
    expect(chosen).toMatchObject({ name: "m", isFolder: true });
    expect(paths(chosen.files)).toEqual(["config.json", "unet/model.safetensors"]);
  });

  it("takes one file as it is, and several as a folder", () => {
    expect(chosenOf(given("a.pt"))).toMatchObject({ name: "a.pt", isFolder: false });
    expect(chosenOf(given("config.json", "model.safetensors"))).toMatchObject({ isFolder: true });
    expect(chosenOf([])).toBeUndefined();
  });
});

describe("familyOf and neededOf", () => {
  const sent = ({ file, files }: Case) =>
    Object.entries(files).map(([path, content]) => ({ path: file ? path : `folder/${path}`, file: new Blob(bytesOf(content)) }));

  it.each<Case>(cases as Case[])("know $tells, as the command line does", async (each) => {
    const chosen = chosenOf(sent(each))!;
    const told = await familyOf(chosen);
    expect(told).toBe(each.fault ?? each.family);
    if (each.fault) return;
    const needed = paths(neededOf(told as FamilyJson, chosen));
    expect(paths(chosen.files).filter((path) => !needed.includes(path)).sort()).toEqual(each.left);
  });

  it("leave the family of a ZIP to whoever sends it", async () => {
    expect(await familyOf(chosenOf(given("a.zip"))!)).toBeUndefined();
  });
});
