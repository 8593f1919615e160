import { cleanup, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { Speaking } from "../i18n";
import { Chat } from "./try-chat";
import { Generate } from "./try-generate";

const answers: Response[] = [];
const asked: { messages?: unknown[]; seed?: string }[] = [];

beforeEach(() =>
  vi.stubGlobal("fetch", (_: string, request: RequestInit) => {
    asked.push(JSON.parse(request.body as string) as object);
    return Promise.resolve(answers.shift()!);
  }),
);
afterEach(() => {
  cleanup();
  answers.length = asked.length = 0;
  vi.unstubAllGlobals();
});

const refused = () => new Response(JSON.stringify({ detail: "all devices are taken" }), { status: 429 });
const said = (text: string) => new Response(`data: ${JSON.stringify({ text })}\n\nevent: end\ndata: {}\n\n`);
const job = { name: "jobs/a", spec: { training: { languageModel: {} } } };

it("gives a question back that got no answer, and sends it again without a trace of the first", async () => {
  answers.push(refused(), said("Fine."));
  render(<Speaking><Chat job={job} /></Speaking>);
  const field = (await screen.findByLabelText("Your message")) as HTMLTextAreaElement;
  fireEvent.change(field, { target: { value: "How are you?" } });
  fireEvent.click(screen.getByRole("button", { name: "Send" }));
  expect((await screen.findByRole("alert")).textContent).toContain("all devices are taken");
  expect(field.value).toBe("How are you?");
  fireEvent.keyDown(field, { key: "Enter", ctrlKey: true });
  expect(await screen.findByText("Fine.")).toBeTruthy();
  expect(asked[1]!.messages).toEqual([{ role: "user", content: "How are you?" }]);
  expect(field.value).toBe("");
});

it("keeps to a picture what it was drawn of, and offers it as a file", async () => {
  answers.push(new Response(JSON.stringify({ images: [{ png: "aGk=", seed: "7" }] })));
  render(<Speaking><Generate job={{ name: "jobs/a", spec: { training: { textToImageLora: { instancePrompt: "a cup" } } } }} /></Speaking>);
  const prompt = await screen.findByLabelText("Prompt");
  fireEvent.change(screen.getByLabelText("Seed"), { target: { value: "7x" } });
  fireEvent.click(screen.getByRole("button", { name: "Generate" }));
  const picture = await screen.findByAltText("a cup");
  fireEvent.change(prompt, { target: { value: "a dog" } });
  expect(picture.getAttribute("alt")).toBe("a cup");
  expect(screen.getByRole("link", { name: /Download\s*seed 7/ }).getAttribute("download")).toBe("7.png");
  expect(screen.getByRole("status").textContent).toBe("1 picture");
  expect(asked[0]!.seed).toBe("7");
});
