import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// The site is served by the Python web server; nothing is inlined, because its content policy forbids it.
export default defineConfig({
  plugins: [react()],
  build: {
    outDir: "../tuneyard/web/static",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    manifest: true,
    target: "es2023",
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/v1": "http://127.0.0.1:8000", "/api": "http://127.0.0.1:8000" } },
  test: { environment: "jsdom" },
});
