/** A PUT of raw bytes that tells how far it is, which fetch cannot. */

import type { UploadDatasetResponseJson } from "../gen/tuneyard/v1/dataset_service_pb";
import { ApiError, withToken, type Problem } from "./http";

export type Put<T = UploadDatasetResponseJson> = (
  path: string,
  body: Blob,
  options: { headers: Record<string, string>; signal: AbortSignal; onSent: (bytes: number) => void },
) => Promise<T>;

export const xhrPut = <T>(...[path, body, options]: Parameters<Put>): Promise<T> =>
  withToken(() => sent<T>(path, body, options), options.signal);

const sent = <T>(...[path, body, { headers, signal, onSent }]: Parameters<Put>): Promise<T> =>
  new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = () => request.abort();
    const away = () => reject(new ApiError({ title: "unreachable", status: 0, detail: "The server does not answer." }));
    request.open("PUT", path);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.setRequestHeader("Content-Type", "application/octet-stream");
    request.upload.onprogress = (event) => onSent(event.loaded);
    request.onerror = away;
    request.onabort = away;
    request.onloadend = () => signal.removeEventListener("abort", abort);
    request.onload = () => {
      const told = parsed(request.responseText);
      if (request.status < 300) resolve(told as T);
      else reject(new ApiError({ title: request.statusText, detail: `HTTP ${request.status}`, ...(told as object), status: request.status } as Problem));
    };
    signal.addEventListener("abort", abort);
    request.send(body);
  });

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return {};
  }
}
