/** Whether the server asks for a token and knows this browser. Calls that were refused wait until it has been told. */

import { useSyncExternalStore } from "react";

export interface Session {
  /** Whether the server was asked once, or could not be. */
  known: boolean;
  tokenNeeded: boolean;
  signedIn: boolean;
  /** Whether this page has had answers before: what stands on it is then kept while the token is asked for. */
  wasOpen: boolean;
}

export type SignInFault = "wrong" | "often" | "cookies" | "away";

const ADDRESS = "/session";

let state: Session = { known: false, tokenNeeded: false, signedIn: false, wasOpen: false };
const listeners = new Set<() => void>();
let asking: Promise<boolean> | undefined;
/** What one tab does, the others of this browser learn. */
const tabs = typeof BroadcastChannel === "undefined" ? undefined : new BroadcastChannel("tuneyard.session");

const isLocked = ({ tokenNeeded, signedIn }: Session) => tokenNeeded && !signedIn;

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

function set(told: Pick<Session, "tokenNeeded" | "signedIn">) {
  state = { known: true, ...told, wasOpen: state.wasOpen || !isLocked({ ...state, ...told }) };
  for (const listener of [...listeners]) listener();
}

/** Asks how the session stands; false where there is no answer. */
export function askSession(): Promise<boolean> {
  asking ??= ask().finally(() => (asking = undefined));
  return asking;
}

async function ask(): Promise<boolean> {
  try {
    const response = await fetch(ADDRESS, { cache: "no-store" });
    if (!response.ok) throw new Error(response.statusText);
    set((await response.json()) as Pick<Session, "tokenNeeded" | "signedIn">);
    return true;
  } catch {
    if (!state.known) set(state);
    return false;
  }
}

/** After a call was refused for want of a token: waits until it has been told. Whether asking again may help. */
export async function admitted(signal?: AbortSignal | null): Promise<boolean> {
  if (!(await askSession())) return false;
  if (isLocked(state)) await opened(signal);
  return state.tokenNeeded;
}

function opened(signal?: AbortSignal | null): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = subscribe(() => {
      if (isLocked(state)) return;
      stop();
      resolve();
    });
    const giveUp = () => {
      stop();
      reject(new DOMException("given up", "AbortError"));
    };
    if (signal?.aborted) giveUp();
    signal?.addEventListener("abort", giveUp);
  });
}

/** Tells the token; what kept it from being taken, if anything did. */
export async function signIn(token: string): Promise<SignInFault | undefined> {
  try {
    const response = await fetch(ADDRESS, {
      method: "PUT",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
    });
    if (response.status === 401 || response.status === 400) return "wrong";
    if (response.status === 429) return "often";
    if (!response.ok || !(await askSession())) return "away";
  } catch {
    return "away";
  }
  if (isLocked(state)) return "cookies";
  tabs?.postMessage("in");
  return undefined;
}

/** Signs this browser out; the page is loaded anew, so that nothing of what it showed is left. */
export async function signOut(): Promise<void> {
  await fetch(ADDRESS, { method: "DELETE" });
  tabs?.postMessage("out");
  location.reload();
}

tabs?.addEventListener("message", ({ data }) => {
  if (data === "out") location.reload();
  else void askSession();
});

export const useSession = (): Session => useSyncExternalStore(subscribe, () => state);
