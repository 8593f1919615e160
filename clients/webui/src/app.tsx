/** The frame around every page: navigation, language, theme, and which page the address names. */

import { Suspense, useState } from "react";
import { Link, Redirect, Route, Switch, useLocation } from "wouter";

import { useJobs } from "./api/jobs";
import { signOut, useSession } from "./api/session";
import { Keys } from "./keys";
import { LANGUAGES, useSpeech, useT } from "./i18n";
import { isEnded } from "./states";
import { applyTheme, currentTheme, type Theme } from "./theme";
import { Boundary, lazyPage } from "./ui/lazy-page";
import { Loading, Page } from "./ui/parts";
import { SignInDialog, SignInPage } from "./ui/sign-in";

const Compare = lazyPage(() => import("./pages/compare"));
const Dataset = lazyPage(() => import("./pages/dataset"));
const Datasets = lazyPage(() => import("./pages/datasets"));
const Finetune = lazyPage(() => import("./pages/finetune"));
const Job = lazyPage(() => import("./pages/job"));
const Jobs = lazyPage(() => import("./pages/jobs"));
const Model = lazyPage(() => import("./pages/model"));
const Models = lazyPage(() => import("./pages/models"));
const System = lazyPage(() => import("./pages/system"));
const Train = lazyPage(() => import("./pages/train"));

const PAGES = [
  { path: "/train", key: "train" },
  { path: "/finetune", key: "finetune" },
  { path: "/jobs", key: "jobs" },
  { path: "/datasets", key: "datasets" },
  { path: "/models", key: "models" },
  { path: "/system", key: "system" },
] as const;

export function App() {
  const session = useSession();
  if (!session.known) return null;
  const isLocked = session.tokenNeeded && !session.signedIn;
  if (isLocked && !session.wasOpen)
    return (
      <SignInPage>
        <Choices />
      </SignInPage>
    );
  return (
    <>
      <Site />
      {isLocked && <SignInDialog />}
    </>
  );
}

function Site() {
  const t = useT();
  const [location] = useLocation();
  return (
    <>
      <a className="skip" href="#content">
        {t.nav.skip}
      </a>
      <div className="shell">
        <Side />
        <div>
          <Reconnecting />
          <Boundary place={location}>
            <Suspense
              fallback={
                <div className="page">
                  <Loading />
                </div>
              }
            >
              <Switch>
                <Route path="/">
                  <Redirect to="/jobs" replace />
                </Route>
                <Route path="/train" component={Train} />
                <Route path="/finetune" component={Finetune} />
                <Route path="/jobs" component={Jobs} />
                <Route path="/jobs/:id/:tab?" component={Job} />
                <Route path="/compare" component={Compare} />
                <Route path="/datasets" component={Datasets} />
                <Route path="/datasets/:id" component={Dataset} />
                <Route path="/models" component={Models} />
                <Route path="/models/:id" component={Model} />
                <Route path="/system" component={System} />
                <Route>
                  <Page title={t.notFound}>
                    <Link href="/jobs">{t.nav.jobs}</Link>
                  </Page>
                </Route>
              </Switch>
            </Suspense>
          </Boundary>
        </div>
      </div>
      <Bottom />
    </>
  );
}

const isAt = (location: string, path: string) => location === path || location.startsWith(`${path}/`);

function Side() {
  const t = useT();
  const [location] = useLocation();
  const { jobs } = useJobs();
  const active = [...jobs.values()].filter((job) => !isEnded(job.state)).length;
  return (
    <div className="side">
      <div className="brand">{t.brand}</div>
      <nav aria-label={t.nav.label}>
        {PAGES.map(({ path, key }) => (
          <Link key={path} href={path} className="item" aria-current={isAt(location, path) ? "page" : undefined}>
            {t.nav[key]}
            {key === "jobs" && active > 0 && <span className="small">{active}</span>}
          </Link>
        ))}
      </nav>
      <div className="foot">
        <a href={t.guideAddress}>{t.nav.guide}</a>
        <Keys />
        <SignOut />
        <Choices />
      </div>
    </div>
  );
}

/** Where one has signed in. */
function SignOut() {
  const t = useT();
  const { signedIn } = useSession();
  if (!signedIn) return null;
  return (
    <button type="button" className="textlink small" onClick={() => void signOut()}>
      {t.signIn.out}
    </button>
  );
}

/** Language and theme, kept in this browser. */
function Choices() {
  const { t, language, choose } = useSpeech();
  const [theme, setTheme] = useState<Theme>(currentTheme);
  return (
    <>
      <label className="small muted">
        {t.language}
        <select className="input" value={language} onChange={(event) => choose(event.target.value as typeof language)}>
          {LANGUAGES.map(({ id, name }) => (
            <option key={id} value={id}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <label className="small muted">
        {t.theme.label}
        <select
          className="input"
          value={theme}
          onChange={(event) => {
            setTheme(event.target.value as Theme);
            applyTheme(event.target.value as Theme);
          }}
        >
          {(["system", "light", "dark"] as const).map((each) => (
            <option key={each} value={each}>
              {t.theme[each]}
            </option>
          ))}
        </select>
      </label>
    </>
  );
}

function Bottom() {
  const t = useT();
  const [location] = useLocation();
  const [more, setMore] = useState(false);
  return (
    <nav className="bottom" aria-label={t.nav.label}>
      {PAGES.filter(({ key }) => IN_BAR.includes(key)).map(({ path, key }) => (
        <Link key={path} href={path} aria-current={isAt(location, path) ? "page" : undefined}>
          {t.nav[key]}
        </Link>
      ))}
      <button type="button" aria-expanded={more} onClick={() => setMore(!more)}>
        {t.nav.more}
      </button>
      {more && (
        <div className="more">
          {PAGES.filter(({ key }) => !IN_BAR.includes(key)).map(({ path, key }) => (
            <Link key={path} href={path} aria-current={isAt(location, path) ? "page" : undefined} onClick={() => setMore(false)}>
              {t.nav[key]}
            </Link>
          ))}
          <a href={t.guideAddress}>{t.nav.guide}</a>
          <SignOut />
          <Choices />
        </div>
      )}
    </nav>
  );
}

/** What the bar at the foot of a phone's page holds; the others are below "More". */
const IN_BAR: readonly string[] = ["train", "jobs", "datasets"];

/** Shown while the server is away; it goes by itself. */
function Reconnecting() {
  const t = useT();
  const { connected } = useJobs();
  if (connected) return null;
  return (
    <div className="banner" role="status">
      <strong>{t.reconnecting}</strong> {t.reconnectingDetail}
    </div>
  );
}
