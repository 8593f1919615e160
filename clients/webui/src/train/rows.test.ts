import { describe, expect, it } from "vitest";

import { rowsOf, trainedShare } from "./rows";

const read = (lines: unknown[], all = false) =>
  rowsOf(lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line))).join("\n"), { isWhole: true, most: 5, all });

describe("rowsOf", () => {
  it("reads each layout that the server reads", () => {
    const { rows } = read([
      { instruction: "Add", input: "1 and 2", output: "3" },
      { prompt: "Hi", completion: "Hello" },
      { messages: [{ role: "system", content: "s" }, { role: "user", content: "u" }, { role: "assistant", content: [{ type: "text", text: "a" }] }] },
      { conversations: [{ from: "human", value: "u" }, { from: "gpt", value: "a" }] },
      { text: "Once" },
    ]);
    expect(rows.map((row) => row.turns.map((turn) => `${turn.role}:${turn.text}`))).toEqual([
      ["user:Add\n1 and 2", "assistant:3"],
      ["user:Hi", "assistant:Hello"],
      ["system:s", "user:u", "assistant:a"],
      ["user:u", "assistant:a"],
      ["text:Once"],
    ]);
    expect(rows[0]!.turns.map((turn) => turn.trained)).toEqual([false, true]);
  });

  it("counts lines that hold no example and keeps the numbers of the others", () => {
    const { rows, broken } = read(["{", { instruction: "x" }, "", { text: "y" }]);
    expect([rows[0]!.line, broken]).toEqual([4, 2]);
  });

  it("leaves out a last line that was not read to its end", () => {
    expect(rowsOf('{"text":"a"}\n{"te', { isWhole: false, most: 5, all: false })).toMatchObject({ broken: 0, rows: [{ line: 1 }] });
  });

  it("tells the share that is trained on", () => {
    expect(trainedShare(read([{ prompt: "aaa", completion: "b" }]))).toBe(0.25);
    expect(trainedShare(read([{ prompt: "aaa", completion: "b" }], true))).toBe(1);
  });
});
