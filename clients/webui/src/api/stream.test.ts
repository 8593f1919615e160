import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import { SEATS, TURN } from "./seats";
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

describe("a page's connections", () => {
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

  it("are given up after a while in which nobody looks, and are taken up again when it is shown", async () => {
    const told: boolean[] = [];
    const stop = follow({ url: () => "/v1/x", onEvents: () => undefined, onConnected: (connected) => told.push(connected), silence: 1e9 });
    hide(true);
    await vi.advanceTimersByTimeAsync(4_000);
    expect(signals.map((signal) => signal.aborted)).toEqual([false]);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(signals.map((signal) => signal.aborted)).toEqual([true]);
    hide(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(signals.map((signal) => signal.aborted)).toEqual([true, false]);
    expect(told).toEqual([]);
    stop();
  });

  it("are not asked for before the page is shown", async () => {
    hide(true);
    const stop = follow({ url: () => "/v1/x", onEvents: () => undefined, silence: 1e9 });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(signals).toEqual([]);
    hide(false);
    await vi.advanceTimersByTimeAsync(1);
    expect(signals.map((signal) => signal.aborted)).toEqual([false]);
    stop();
  });

  it("stay where somebody waits for a notification", async () => {
    const stop = follow({ url: () => "/v1/x", onEvents: () => undefined, silence: 1e9, isKept: () => true });
    hide(true);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(signals.map((signal) => signal.aborted)).toEqual([false]);
    stop();
  });

  it("take turns where there are many, unnoticed, and leave room for other calls", async () => {
    const lost: string[] = [];
    const open = new Set<string>();
    const seen = new Set<string>();
    let most = 0;
    vi.stubGlobal("fetch", (url: string, { signal }: { signal: AbortSignal }) => {
      open.add(url);
      seen.add(url);
      most = Math.max(most, open.size);
      return new Promise((_resolve, reject) =>
        signal.addEventListener("abort", () => {
          open.delete(url);
          reject(new DOMException("", "AbortError"));
        }),
      );
    });
    const urls = ["/1", "/2", "/3", "/4", "/5", "/6"];
    const stops = urls.map((url) =>
      follow({ url: () => url, onEvents: () => undefined, onConnected: (connected) => connected || lost.push(url), silence: 1e9 }),
    );
    await vi.advanceTimersByTimeAsync(4 * TURN);
    expect(most).toBe(SEATS);
    expect([...seen].sort()).toEqual(urls);
    expect(lost).toEqual([]);
    // Those that are left have their seats for good.
    stops.splice(0, 3).forEach((stop) => stop());
    await vi.advanceTimersByTimeAsync(4 * TURN);
    expect([...open].sort()).toEqual(["/4", "/5", "/6"]);
    stops.forEach((stop) => stop());
  });
});
