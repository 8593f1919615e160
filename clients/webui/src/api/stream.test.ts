import { describe, expect, it } from "vitest";

import { EventParser } from "./stream";

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
