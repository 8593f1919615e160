import { describe, expect, it } from "vitest";

import { patiently } from "./lazy-page";

const failing = (times: number) => {
  let left = times;
  return () => (left-- > 0 ? Promise.reject(new Error("away")) : Promise.resolve("page"));
};
const atOnce = () => Promise.resolve();

describe("patiently", () => {
  it("rides out a server that is away for a moment", async () => {
    expect(await patiently(failing(3), atOnce)).toBe("page");
  });

  it("gives up in the end", async () => {
    await expect(patiently(failing(100), atOnce)).rejects.toThrow("away");
  });
});
