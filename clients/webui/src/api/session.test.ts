import { afterEach, beforeEach, expect, it, vi } from "vitest";

const TOKEN = "open sesame";
const json = (status: number, body: unknown) => new Response(JSON.stringify(body), { status });

/** A server that asks for the token, and a browser that keeps its cookie. */
const server = { signedIn: false, keeps: true, tooMany: false, calls: [] as string[] };

beforeEach(() => {
  vi.resetModules();
  Object.assign(server, { signedIn: false, keeps: true, tooMany: false, calls: [] });
  vi.stubGlobal("BroadcastChannel", undefined);
  vi.stubGlobal("fetch", (path: string, request?: RequestInit) => {
    server.calls.push(`${request?.method ?? "GET"} ${path}`);
    if (path !== "/session") return Promise.resolve(server.signedIn ? json(200, { fine: true }) : json(401, { detail: "no" }));
    if (request?.method === "PUT") {
      if (server.tooMany) return Promise.resolve(json(429, { detail: "Too many." }));
      const { token } = JSON.parse(request.body as string) as { token: string };
      if (token !== TOKEN) return Promise.resolve(json(401, { detail: "wrong" }));
      server.signedIn = server.keeps;
    }
    return Promise.resolve(json(200, { tokenNeeded: true, signedIn: server.signedIn }));
  });
});
afterEach(() => void vi.unstubAllGlobals());

async function loaded() {
  const session = await import("./session");
  const { get } = await import("./http");
  return { ...session, get };
}

it("keeps a refused call until the token is told, and then does it once more", async () => {
  const { get, signIn } = await loaded();
  const call = get("/v1/jobs");
  await vi.waitFor(() => expect(server.calls).toContain("GET /session"));
  expect(await signIn(TOKEN)).toBeUndefined();
  expect(await call).toEqual({ fine: true });
  expect(server.calls.filter((each) => each === "GET /v1/jobs")).toHaveLength(2);
});

it("says of a wrong token that it is wrong, and of a lost cookie that it is lost", async () => {
  const { signIn } = await loaded();
  expect(await signIn("x")).toBe("wrong");
  server.keeps = false;
  expect(await signIn(TOKEN)).toBe("cookies");
});

it("lets a call that is given up go", async () => {
  const { get } = await loaded();
  const stop = new AbortController();
  const call = get("/v1/jobs", stop.signal);
  await vi.waitFor(() => expect(server.calls).toContain("GET /session"));
  stop.abort();
  await expect(call).rejects.toMatchObject({ name: "AbortError" });
});

it("asks for no token where another server behind this one refuses", async () => {
  vi.stubGlobal("fetch", (path: string) =>
    Promise.resolve(path === "/session" ? json(200, { tokenNeeded: false, signedIn: false }) : json(401, { detail: "the gateway's" })),
  );
  const { get } = await loaded();
  await expect(get("/v1/jobs")).rejects.toMatchObject({ problem: { status: 401, detail: "the gateway's" } });
});

it("tells a token that is not looked at from a wrong one", async () => {
  const { signIn } = await loaded();
  expect(await signIn("guessed")).toBe("wrong");
  server.tooMany = true;
  expect(await signIn(TOKEN)).toBe("often");
});
