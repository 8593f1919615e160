import { describe, expect, it } from "vitest";

import { chosenOf, familyOf, neededOf } from "./folder";

const given = (...paths: string[]) => paths.map((path) => ({ path, file: new Blob(["x"]) }));
const llama = { path: "llama/config.json", file: new Blob(['{"architectures": ["LlamaForCausalLM"]}']) };
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

describe("familyOf", () => {
  const told = (...files: ReturnType<typeof given>) => familyOf(chosenOf(files)!);

  it("knows a family by its files", async () => {
    expect(await told(llama, ...given("llama/model.safetensors"))).toBe("FAMILY_LLM");
    expect(await told(...given("sd/model_index.json", "sd/unet/x.safetensors"))).toBe("FAMILY_DIFFUSION");
    expect(await told(...given("a.pt"))).toBe("FAMILY_VISION");
    expect(await told(...given("a.zip"))).toBeUndefined();
    const header = new TextEncoder().encode('{"model.diffusion_model.x": {}}');
    const file = new Blob([Uint8Array.from([header.length, 0, 0, 0, 0, 0, 0, 0]), header]);
    expect(await told({ path: "sd.safetensors", file })).toBe("FAMILY_DIFFUSION");
  });

  it("says what is no model before anything is sent", async () => {
    expect(await told(...given("a.gguf"))).toBe("gguf");
    expect(await told(...given("a/adapter_config.json", "a/adapter_model.safetensors"))).toBe("adapter");
    expect(await told(...given("photos/1.png"))).toBe("nothing");
  });
});

describe("neededOf", () => {
  it("leaves a language model's doubled weights behind", () => {
    const chosen = chosenOf([llama, ...given("llama/model-00001.safetensors", "llama/pytorch_model.bin", "llama/consolidated.safetensors", "llama/original/x.pth")])!;
    expect(paths(neededOf("FAMILY_LLM", chosen))).toEqual(["config.json", "model-00001.safetensors"]);
  });

  it("leaves a pipeline's other forms of the same weights behind", () => {
    const chosen = chosenOf(given("sd/model_index.json", "sd/whole.safetensors", "sd/unet/d.safetensors", "sd/unet/d.fp16.safetensors", "sd/unet/d.bin", "sd/vae/d.bin"))!;
    expect(paths(neededOf("FAMILY_DIFFUSION", chosen))).toEqual(["model_index.json", "unet/d.safetensors", "vae/d.bin"]);
  });
});
