/** Calls of the REST API: JSON in and out, and what went wrong as the problem that the server told. */

import { admitted } from "./session";

export interface FieldViolation {
  field: string;
  description: string;
}

export interface Problem {
  title: string;
  status: number;
  detail: string;
  reason?: string;
  violations?: FieldViolation[];
  resource?: string;
}

export class ApiError extends Error {
  readonly problem: Problem;

  constructor(problem: Problem) {
    super(problem.detail);
    this.problem = problem;
  }

  /** Whether trying again later may help: the server is away or busy. */
  get passes(): boolean {
    return this.problem.status === 0 || this.problem.status === 429 || this.problem.status >= 502;
  }
}

export async function call<T>(
  method: "GET" | "POST" | "PUT" | "DELETE",
  path: string,
  options: { body?: unknown; signal?: AbortSignal } = {},
): Promise<T> {
  const response = await answered(path, {
    method,
    signal: options.signal ?? null,
    headers: options.body === undefined ? {} : { "Content-Type": "application/json" },
    body: options.body === undefined ? null : JSON.stringify(options.body),
  });
  return (await received(() => response.json())) as T;
}

/** The answer as a protobuf message's bytes. */
export async function getBytes(path: string): Promise<Uint8Array> {
  const response = await answered(path, { headers: { Accept: "application/x-protobuf" } });
  return new Uint8Array(await received(() => response.arrayBuffer()));
}

/** An answer that is no refusal. */
export function answered(path: string, request: RequestInit): Promise<Response> {
  return withToken(async () => {
    const response = await received(() => fetch(path, request));
    if (!response.ok) throw new ApiError(await problemOf(response));
    return response;
  }, request.signal);
}

/** Does once more what was refused for want of the token, as soon as it has been told. */
export async function withToken<T>(once: () => Promise<T>, signal?: AbortSignal | null): Promise<T> {
  try {
    return await once();
  } catch (error) {
    if (error instanceof ApiError && error.problem.status === 401 && (await admitted(signal))) return once();
    throw error;
  }
}

/** What comes from the server, whose line may be cut before the answer or in the middle of it. */
async function received<T>(come: () => Promise<T>): Promise<T> {
  try {
    return await come();
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError({ title: "unreachable", status: 0, detail: "The server does not answer." });
  }
}

export const get = <T>(path: string, signal?: AbortSignal) => call<T>("GET", path, signal ? { signal } : {});
export const post = <T>(path: string, body: unknown, signal?: AbortSignal) =>
  call<T>("POST", path, signal ? { body, signal } : { body });
export const remove = (path: string) => call<object>("DELETE", path);

export async function problemOf(response: Response): Promise<Problem> {
  try {
    const told = (await response.json()) as Partial<Problem>;
    if (typeof told.detail === "string") return { title: response.statusText, status: response.status, ...told } as Problem;
  } catch {
    // Not from our server: a proxy's page, or nothing.
  }
  return { title: response.statusText, status: response.status, detail: `HTTP ${response.status}` };
}

/** Where an artifact's bytes are. */
export const artifactUrl = (job: string | undefined, path: string | undefined) =>
  `/v1/${job}/artifacts/${(path ?? "").split("/").map(encodeURIComponent).join("/")}:download`;

/** A name's last part: "jobs/abc" is "abc". */
export const idOf = (name: string | undefined) => (name ?? "").slice((name ?? "").indexOf("/") + 1);

/** A random id; crypto.randomUUID is there only where the browser trusts the address, which it does not in a local network. */
export const newId = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
