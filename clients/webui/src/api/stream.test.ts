import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { EventParser, follow } from "./stream";

describe("EventParser", () => {
  it("finds events however the bytes are cut", () => {
    const text = 'id: 1\nevent: progress\ndata: {"a":1}\n\n: keep-alive\n\nid: 2\ndata: x\ndata: y\n\n';
    for (let cut = 1; cut < text.length; cut++) {
      const parser = new EventParser();
      const events = [...parser.push(text.slice(0, cut)), ...parser.push(text.slice(cut))];
      expect(events).toEqual([
        { id: "1", event: "progress", data: '{"a":1}' },
        { id: "", event: "message", data: "" },
        { id: "2", event: "message", data: "x\ny" },
      ]);
    }
  });
});

describe("a page that nobody looks at", () => {
  const signals: AbortSignal[] = [];
  const hide = (hidden: boolean) => {
    Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  };

  beforeEach(() => {
    vi.useFakeTimers();
    signals.length = 0;
    vi.stubGlobal("fetch", (_url: string, { signal }: { signal: AbortSignal }) => {
      signals.push(signal);
      return new Promise((_resolve, reject) => signal.addEventListener("abort", () => reject(new DOMException("", "AbortError"))));
    });
  });

  afterEach(() => {
    hide(false);
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it("gives its connection up after a while, and takes it up again when it is shown", async () => {
    const told: boolean[] = [];
    const stop = follow({ url: () => "/v1/x", onEvents: () => undefined, onConnected: (connected) => told.push(connected), silence: 1e9 });
    hide(true);
    await vi.advanceTimersByTimeAsync(29_000);
    expect(signals.map((signal) => signal.aborted)).toEqual([false]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(signals.map((signal) => signal.aborted)).toEqual([true]);
    hide(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(signals.map((signal) => signal.aborted)).toEqual([true, false]);
    expect(told).toEqual([]);
    stop();
  });

  it("keeps it where somebody waits for a notification", async () => {
    const stop = follow({ url: () => "/v1/x", onEvents: () => undefined, silence: 1e9, isKept: () => true });
    hide(true);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(signals.map((signal) => signal.aborted)).toEqual([false]);
    stop();
  });
});
