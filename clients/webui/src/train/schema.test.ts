import { expect, it } from "vitest";

import { choosing, type Field } from "./schema";

const FIELD = { path: "textToImageLora.clipModel", kind: "text", options: [] } as unknown as Field;

it("makes a choice of what there is to choose from, and leaves a text where there is nothing", () => {
  expect(choosing(FIELD, ["models/clip"])).toMatchObject({ kind: "choice", options: ["models/clip"] });
  expect(choosing(FIELD, [])).toBe(FIELD);
});
