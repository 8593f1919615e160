/** A language model to talk to, with its base model beside it. */

import { useState } from "react";

import { ApiError, answered } from "../api/http";
import { EventParser } from "../api/stream";
import type { GenerateTextResponseJson } from "../gen/tuneyard/v1/inference_service_pb";
import type { JobJson } from "../gen/tuneyard/v1/job_pb";
import { useT } from "../i18n";
import { kindOfJob } from "../job";
import { Button, Failure } from "../ui/parts";

interface Turn {
  role: "user" | "assistant";
  content: string;
  base?: string;
}

export function Chat({ job }: { job: JobJson }) {
  const t = useT();
  const [turns, setTurns] = useState<Turn[]>([]);
  const [text, setText] = useState("");
  const [compare, setCompare] = useState(true);
  const [error, setError] = useState<unknown>(null);
  const [running, setRunning] = useState<AbortController | null>(null);
  const hasBase = kindOfJob(job) === "language_model";
  const ask = async () => {
    const question: Turn = { role: "user", content: text };
    const said = [...turns, question];
    const controller = new AbortController();
    let isAnswered = false;
    setTurns([...said, { role: "assistant", content: "" }]);
    setText("");
    setError(null);
    setRunning(controller);
    try {
      await answer(job, said, hasBase && compare, controller.signal, (tuned, base) => {
        isAnswered ||= tuned !== "";
        setTurns([...said, { role: "assistant", content: tuned, ...(base ? { base } : {}) }]);
      });
    } catch (failed) {
      if (!controller.signal.aborted) setError(failed);
      // A question without an answer is no part of the talk: it is there to be sent again.
      if (!isAnswered) {
        setTurns(turns);
        setText((typed) => typed || question.content);
      }
    } finally {
      setRunning(null);
    }
  };
  return (
    <div className="talk">
      {turns.map((turn, index) => (
        <div key={index} className={`turn ${turn.role}`}>
          {turn.base ? (
            <div className="answers">
              <div>
                <div className="small muted">{t.job.tuned}</div>
                {turn.content}
              </div>
              <div>
                <div className="small muted">{t.job.base}</div>
                {turn.base}
              </div>
            </div>
          ) : (
            turn.content || "…"
          )}
        </div>
      ))}
      {error !== null && <Failure error={error} />}
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          if (text.trim() && !running) void ask();
        }}
      >
        <div className="field">
          <label htmlFor="chat-question">{t.job.question}</label>
          <textarea
            id="chat-question"
            className="input"
            rows={3}
            value={text}
            aria-describedby="chat-hint"
            onChange={(event) => setText(event.target.value)}
            onKeyDown={(event) => {
              if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.nativeEvent.isComposing) return;
              event.preventDefault();
              event.currentTarget.form?.requestSubmit();
            }}
          />
          <span className="hint" id="chat-hint">
            {t.job.sendHint}
          </span>
        </div>
        <div className="row">
          <button type="submit" className="button primary" disabled={!text.trim() || running !== null}>
            {t.job.ask}
          </button>
          {running && <Button onClick={() => running.abort()}>{t.job.stop}</Button>}
          {turns.length > 0 && <Button onClick={() => setTurns([])}>{t.job.startOver}</Button>}
          {hasBase && (
            <label className="row">
              <input type="checkbox" checked={compare} onChange={(event) => setCompare(event.target.checked)} />
              {t.job.besideBase}
            </label>
          )}
        </div>
      </form>
    </div>
  );
}

async function answer(
  job: JobJson,
  turns: readonly Turn[],
  compare: boolean,
  signal: AbortSignal,
  onText: (tuned: string, base: string) => void,
): Promise<void> {
  const response = await answered(`/v1/${job.name}:generateText`, {
    method: "POST",
    signal,
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({
      messages: turns.map(({ role, content }) => ({ role, content })),
      compareWithBase: compare,
    }),
  });
  if (!response.body) return;
  const parser = new EventParser();
  const decoder = new TextDecoder();
  const reader = response.body.getReader();
  let tuned = "";
  let base = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    for (const event of parser.push(decoder.decode(value, { stream: true }))) {
      if (!event.data || event.event === "end") continue;
      const told = JSON.parse(event.data) as GenerateTextResponseJson & { detail?: string };
      if (event.event === "error") throw new ApiError({ title: "", status: 500, detail: told.detail ?? "" });
      if (told.fromBase) base += told.text ?? "";
      else tuned += told.text ?? "";
    }
    onText(tuned, base);
  }
}
