/** A job: where it stands, its curves, samples, log, settings, artifacts, and its model to try. */

import { Suspense, lazy, useEffect, useSyncExternalStore } from "react";
import { Link, useLocation } from "wouter";

import { useT } from "../i18n";
import { sourceOf } from "../job";
import { Artifacts } from "../job/artifacts";
import { Head, useTitle } from "../job/head";
import { Log } from "../job/log";
import { Outcome } from "../job/outcome";
import { Samples } from "../job/samples";
import { Settings } from "../job/settings";
import { storeOf } from "../job/store";
import { TryIt } from "../job/try-it";
import { isTaken, singleKeysAreOn } from "../keys";
import { Failure, Loading } from "../ui/parts";

const Charts = lazy(() => import("../charts/charts"));
const TABS = ["charts", "samples", "log", "settings", "artifacts", "try"] as const;
type Tab = (typeof TABS)[number];

export default function JobPage({ params }: { params: { id: string; tab?: string } }) {
  const t = useT();
  const store = storeOf(params.id);
  const view = useSyncExternalStore(store.subscribe, store.snapshot);
  const [, navigate] = useLocation();
  // What other jobs are made into has no curves.
  const first: Tab = view.job && sourceOf(view.job) ? "artifacts" : "charts";
  const tab = (TABS as readonly string[]).includes(params.tab ?? "") ? (params.tab as Tab) : first;
  useTitle(view.job);
  useEffect(() => {
    const press = (event: KeyboardEvent) => {
      if (!singleKeysAreOn() || isTaken(event)) return;
      const chosen = TABS[Number(event.key) - 1];
      if (chosen) navigate(`/jobs/${params.id}/${chosen}`);
    };
    addEventListener("keydown", press);
    return () => removeEventListener("keydown", press);
  }, [navigate, params.id]);
  if (!view.job)
    return (
      <main className="page" id="content">
        <h1 className="visually-hidden">{t.nav.jobs}</h1>
        {view.error ? (
          <div className="stack">
            <Failure error={view.error} />
            <p>
              <Link href="/jobs">{t.nav.jobs}</Link>
            </p>
          </div>
        ) : (
          <Loading lines={8} />
        )}
      </main>
    );
  return (
    <main className="page" id="content">
      <Head job={view.job} />
      <Outcome view={view} job={view.job} />
      <nav className="tabs" aria-label={t.job.tabs.label}>
        {TABS.map((each) => (
          <Link key={each} href={`/jobs/${params.id}/${each}`} aria-current={each === tab ? "page" : undefined}>
            {t.job.tabs[each]}
          </Link>
        ))}
      </nav>
      {tab === "charts" && (
        <Suspense fallback={<Loading lines={6} />}>
          <Charts view={view} job={view.job} />
        </Suspense>
      )}
      {tab === "samples" && <Samples view={view} job={view.job} />}
      {tab === "log" && <Log view={view} />}
      {tab === "settings" && <Settings job={view.job} />}
      {tab === "artifacts" && <Artifacts job={view.job} count={view.artifacts} />}
      {tab === "try" && <TryIt job={view.job} />}
    </main>
  );
}
