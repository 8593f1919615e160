/** The small parts that pages are made of. */

import { useEffect, useId, useRef, useState, type ButtonHTMLAttributes, type ReactNode } from "react";
import { Link } from "wouter";

import { ApiError } from "../api/http";
import { useT } from "../i18n";
import { kindOf } from "../states";
import type { JobStateJson } from "../gen/tuneyard/v1/job_pb";

export function Button({
  look = "",
  busy = false,
  children,
  ...rest
}: ButtonHTMLAttributes<HTMLButtonElement> & { look?: "" | "primary" | "danger" | "plain"; busy?: boolean }) {
  return (
    <button type="button" className={`button ${look}`} aria-busy={busy} {...rest}>
      {children}
    </button>
  );
}

export function StateBadge({ state }: { state: JobStateJson | undefined }) {
  const t = useT();
  return <span className={`badge ${kindOf(state)}`}>{t.states[(state as keyof typeof t.states) ?? "JOB_STATE_UNSPECIFIED"]}</span>;
}

export function Progress({ value, label }: { value: number; label: string }) {
  return <progress max={1} value={value} aria-label={label} />;
}

/** What failed, in its place, and a way to try again where something was to be loaded. */
export function Failure({ error, what, retry }: { error: unknown; what?: string; retry?: () => void }) {
  const t = useT();
  const told = error instanceof ApiError ? error.problem.detail : String(error);
  const title = error instanceof ApiError ? t.reasons[error.problem.reason ?? ""] : undefined;
  return (
    <div className="note danger stack" role="alert">
      <p>
        {what ?? (retry && t.failedToLoad)} {title && <strong>{title}.</strong>} {told}
      </p>
      {retry && (
        <p>
          <Button onClick={retry}>{t.actions.retry}</Button>
        </p>
      )}
    </div>
  );
}

/** What the server says in English, below what the reader's language says of it. */
export function Original({ children }: { children: ReactNode }) {
  const t = useT();
  return (
    <details className="small">
      <summary>{t.original}</summary>
      <div className="stack tight break" lang="en">
        {children}
      </div>
    </details>
  );
}

/** A layout of what is to come, after a moment in which nothing is shown. */
export function Loading({ lines = 3 }: { lines?: number }) {
  const t = useT();
  const [shown, setShown] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setShown(true), 300);
    return () => clearTimeout(timer);
  }, []);
  if (!shown) return null;
  return (
    <div className="stack" role="status" aria-label={t.loading}>
      {Array.from({ length: lines }, (_, line) => (
        <div key={line} className="skeleton" />
      ))}
    </div>
  );
}

export function Segmented<V extends string>({
  label,
  value,
  options,
  onChange,
}: {
  label: string;
  value: V;
  options: readonly { value: V; label: ReactNode }[];
  onChange: (value: V) => void;
}) {
  const name = useId();
  return (
    <fieldset>
      <legend className="visually-hidden">{label}</legend>
      <span className="segmented">
        {options.map((option) => (
          <label key={option.value}>
            <input
              type="radio"
              name={name}
              value={option.value}
              checked={option.value === value}
              onChange={() => onChange(option.value)}
            />
            {option.label}
          </label>
        ))}
      </span>
    </fieldset>
  );
}

/** A question before something is lost; Escape is "no". */
export function Confirm({
  title,
  text,
  yes,
  no,
  look = "danger",
  onYes,
  onClose,
}: {
  title: string;
  text: string;
  yes: string;
  no: string;
  /** "danger" where something is lost. */
  look?: "danger" | "primary";
  onYes: () => void;
  onClose: () => void;
}) {
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  useEffect(() => dialog.current?.showModal(), []);
  return (
    <dialog ref={dialog} aria-labelledby={heading} onClose={onClose}>
      <div className="stack">
        <h2 id={heading}>{title}</h2>
        <p>{text}</p>
        <div className="row">
          <Button
            look={look}
            onClick={() => {
              onYes();
              dialog.current?.close();
            }}
          >
            {yes}
          </Button>
          <Button onClick={() => dialog.current?.close()}>{no}</Button>
        </div>
      </div>
    </dialog>
  );
}

/** A page's frame: one heading, and the tab's title. */
export function Page({
  title,
  aside,
  crumb,
  children,
}: {
  title: string;
  aside?: ReactNode;
  /** The list that this page's thing is one of. */
  crumb?: { href: string; label: string };
  children: ReactNode;
}) {
  const t = useT();
  useEffect(() => {
    document.title = `${title} · ${t.brand}`;
  }, [title, t]);
  return (
    <main className="page" id="content">
      <header>
        <div className="grow">
          {crumb && (
            <ol className="crumbs">
              <li>
                <Link href={crumb.href}>{crumb.label}</Link>
              </li>
            </ol>
          )}
          <h1 className="break">{title}</h1>
        </div>
        {aside}
      </header>
      {children}
    </main>
  );
}
