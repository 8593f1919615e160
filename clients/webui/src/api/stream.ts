/** Server-sent events over fetch: with status codes, unlike EventSource, and resumed after the last event's id. */

import { ApiError, problemOf } from "./http";
import { seat } from "./seats";
import { admitted } from "./session";

export interface ServerEvent {
  id: string;
  event: string;
  data: string;
}

/** Splits what arrives into events; comments (keep-alives) come as events with no data. */
export class EventParser {
  private rest = "";

  push(text: string): ServerEvent[] {
    const blocks = (this.rest + text).split("\n\n");
    this.rest = blocks.pop() ?? "";
    return blocks.map(parseBlock);
  }
}

function parseBlock(block: string): ServerEvent {
  const found: ServerEvent = { id: "", event: "message", data: "" };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon <= 0) continue;
    const value = line.slice(colon + 1).replace(/^ /, "");
    const name = line.slice(0, colon);
    if (name === "data") found.data += (found.data && "\n") + value;
    else if (name === "id" || name === "event") found[name] = value;
  }
  return found;
}

export interface Following {
  /** The address; it is asked anew after each interruption, so that it can carry how far one is. */
  url: () => string;
  onEvents: (events: ServerEvent[]) => void;
  /** Told true when the stream stands, false when it was lost. */
  onConnected?: (connected: boolean) => void;
  /** The server says that asking again will not help. */
  onRefused?: (error: ApiError) => void;
  /** Milliseconds without any byte after which a connection counts as broken; the server speaks every 15 s. */
  silence?: number;
  /** Whether to go on while nobody looks at the page. */
  isKept?: () => boolean;
}

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10_000;
/** A page that nobody has looked at for so long gives its connection up: a browser has six of them for a server. */
const UNSEEN = 5_000;

/** Follows a stream until the server ends it with an "end" event, or the returned function is called. */
export function follow(options: Following): () => void {
  const stop = new AbortController();
  void run(options, stop.signal);
  return () => stop.abort();
}

async function run(options: Following, stop: AbortSignal): Promise<void> {
  let pause = FIRST_PAUSE;
  while (!stop.aborted) {
    // A page that is opened behind others begins when somebody looks at it.
    if (document.hidden && !options.isKept?.()) await shown(stop);
    const connection = new AbortController();
    let isTurnOver = false;
    const free = await seat(() => {
      isTurnOver = true;
      connection.abort();
    }, stop);
    try {
      if (stop.aborted) return;
      const ended = await once(options, connection, stop, () => (pause = FIRST_PAUSE));
      if (ended) return;
    } catch (error) {
      if (stop.aborted) return;
      const isRefused = error instanceof ApiError && error.problem.status === 401;
      if (isRefused && (await admitted(stop).catch(() => false))) {
        await sleep(pause, stop);
        pause = Math.min(pause * 2, LONGEST_PAUSE);
        continue;
      }
      if (stop.aborted) return;
      if (error instanceof ApiError && !error.passes) {
        options.onRefused?.(error);
        return;
      }
    } finally {
      free();
    }
    if (stop.aborted) return;
    if (isTurnOver || (document.hidden && !options.isKept?.())) continue;
    options.onConnected?.(false);
    await sleep(pause * (0.75 + Math.random() / 2), stop);
    pause = Math.min(pause * 2, LONGEST_PAUSE);
  }
}

async function once(options: Following, connection: AbortController, stop: AbortSignal, onByte: () => void): Promise<boolean> {
  const abort = () => connection.abort();
  let unseen: ReturnType<typeof setTimeout> | undefined;
  const look = () => {
    clearTimeout(unseen);
    if (document.hidden) unseen = setTimeout(() => options.isKept?.() || abort(), UNSEEN);
  };
  stop.addEventListener("abort", abort);
  document.addEventListener("visibilitychange", look);
  look();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const watch = () => {
    clearTimeout(timer);
    timer = setTimeout(abort, options.silence ?? 32_000);
  };
  try {
    watch();
    const response = await fetch(options.url(), { signal: connection.signal, headers: { Accept: "text/event-stream" } });
    if (!response.ok || !response.body) throw new ApiError(await problemOf(response));
    options.onConnected?.(true);
    const parser = new EventParser();
    const decoder = new TextDecoder();
    const reader = response.body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return false;
      onByte();
      watch();
      const events = parser.push(decoder.decode(value, { stream: true }));
      const told = events.filter((event) => event.data !== "" && event.event !== "end" && event.event !== "error");
      if (told.length) options.onEvents(told);
      if (events.some((event) => event.event === "end")) return true;
      if (events.some((event) => event.event === "error")) return false;
    }
  } finally {
    clearTimeout(timer);
    clearTimeout(unseen);
    stop.removeEventListener("abort", abort);
    document.removeEventListener("visibilitychange", look);
  }
}

/** Waits until somebody looks at the page. */
function shown(stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !stop.aborted) return;
      document.removeEventListener("visibilitychange", look);
      stop.removeEventListener("abort", look);
      resolve();
    };
    document.addEventListener("visibilitychange", look);
    stop.addEventListener("abort", look);
  });
}

/** Waits; at once again when the network is back or the page is shown. */
function sleep(milliseconds: number, stop: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      document.removeEventListener("visibilitychange", shown);
      stop.removeEventListener("abort", done);
      resolve();
    };
    const shown = () => {
      if (!document.hidden) done();
    };
    const timer = setTimeout(done, milliseconds);
    addEventListener("online", done);
    document.addEventListener("visibilitychange", shown);
    stop.addEventListener("abort", done);
  });
}
