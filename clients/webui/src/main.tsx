import "./styles/tokens.css";
import "./styles/base.css";
import "./styles/shell.css";
import "./styles/sign-in.css";
import "./styles/parts.css";
import "./styles/job.css";
import "./styles/compare.css";
import "./styles/train.css";
import "./styles/preview.css";
import "./styles/data.css";

import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { ApiError } from "./api/http";
import { askSession } from "./api/session";
import { App } from "./app";
import { Speaking } from "./i18n";
import { applyTheme, currentTheme } from "./theme";

applyTheme(currentTheme());
void askSession();

const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      retry: (failures, error) => failures < 3 && error instanceof ApiError && error.passes,
    },
  },
});

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <QueryClientProvider client={queries}>
      <Speaking>
        <App />
      </Speaking>
    </QueryClientProvider>
  </StrictMode>,
);
