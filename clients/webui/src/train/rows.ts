/** The first rows of a file of texts as turns, with what is trained on: a look before the server has checked anything. */

export interface Turn {
  role: "system" | "user" | "assistant" | "text";
  text: string;
  /** Whether tokens of this turn carry loss. */
  trained: boolean;
}

export interface Rows {
  rows: { line: number; turns: Turn[] }[];
  /** Lines looked at that hold no example. */
  broken: number;
}

const ROLES: Record<string, Turn["role"]> = {
  system: "system",
  developer: "system",
  user: "user",
  human: "user",
  assistant: "assistant",
  gpt: "assistant",
  model: "assistant",
  bot: "assistant",
};

/** How much of a file is read for it. */
export const HEAD_BYTES = 64 * 1024;

export function rowsOf(text: string, options: { isWhole: boolean; most: number; all: boolean }): Rows {
  const lines = text.split("\n");
  if (!options.isWhole) lines.pop();
  const found: Rows = { rows: [], broken: 0 };
  for (const [index, line] of lines.entries()) {
    if (found.rows.length === options.most) break;
    if (!line.trim()) continue;
    const turns = turnsOf(line, options.all);
    if (turns.some((turn) => turn.trained)) found.rows.push({ line: index + 1, turns });
    else found.broken += 1;
  }
  return found;
}

function turnsOf(line: string, all: boolean): Turn[] {
  let row: unknown;
  try {
    row = JSON.parse(line);
  } catch {
    return [];
  }
  if (typeof row !== "object" || row === null) return [];
  const told = row as Record<string, unknown>;
  const turn = (role: Turn["role"], text: unknown): Turn[] =>
    typeof text === "string" && text ? [{ role, text, trained: all || role === "assistant" || role === "text" }] : [];
  const messages = told["messages"] ?? told["conversations"] ?? told["conversation"];
  if (Array.isArray(messages)) return messages.flatMap((message) => turn(...messageOf(message)));
  const answer = told["response"] ?? told["output"] ?? told["completion"];
  if (answer !== undefined) {
    const asked = [told["instruction"] ?? told["prompt"], told["input"]].filter((part) => typeof part === "string" && part);
    return [...turn("system", told["system"]), ...turn("user", asked.join("\n")), ...turn("assistant", answer)];
  }
  return turn("text", told["text"]);
}

function messageOf(message: unknown): [Turn["role"], unknown] {
  const told = (typeof message === "object" && message !== null ? message : {}) as Record<string, unknown>;
  const content = told["content"] ?? told["value"];
  const parts = Array.isArray(content) ? content.map((part) => (part as { text?: string }).text ?? "").join("") : content;
  return [ROLES[String(told["role"] ?? told["from"])] ?? "user", parts];
}

/** The share of characters that is trained on; tokens are counted by the job, with the model's own tokenizer. */
export function trainedShare(rows: Rows): number {
  const turns = rows.rows.flatMap((row) => row.turns);
  const length = (some: Turn[]) => some.reduce((sum, turn) => sum + turn.text.length, 0);
  return length(turns.filter((turn) => turn.trained)) / Math.max(1, length(turns));
}
