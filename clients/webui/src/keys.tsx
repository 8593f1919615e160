/** Keys for all pages: `g` and a letter goes to a page, `/` searches, `?` lists them. Single keys can be switched off. */

import { useEffect, useId, useRef, useState } from "react";
import { useLocation } from "wouter";

import { useT } from "./i18n";
import { Button } from "./ui/parts";

export const PLACES = { t: "/train", f: "/finetune", j: "/jobs", d: "/datasets", m: "/models", s: "/system" } as const;
type Letter = keyof typeof PLACES;

const KEPT = "tuneyard.keys";
/** How long the letter after `g` may take, in milliseconds. */
const PATIENCE = 1_500;

export const singleKeysAreOn = () => localStorage.getItem(KEPT) !== "off";

/** Whether what is typed belongs to somebody else: a field, a dialog, a shortcut of the browser. */
export function isTaken(event: KeyboardEvent): boolean {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return true;
  const target = event.target;
  if (!(target instanceof Element)) return false;
  return target.closest("input, textarea, select, [contenteditable]") !== null || document.querySelector("dialog[open]") !== null;
}

export function Keys() {
  const t = useT();
  const [, go] = useLocation();
  const [shown, setShown] = useState(false);
  useEffect(() => {
    let after = 0;
    const onKey = (event: KeyboardEvent) => {
      if (!singleKeysAreOn() || isTaken(event)) return;
      const waiting = performance.now() - after < PATIENCE && after > 0;
      after = 0;
      if (waiting && event.key in PLACES) {
        event.preventDefault();
        go(PLACES[event.key as Letter]);
      } else if (event.key === "g") after = performance.now();
      else if (event.key === "?") setShown(true);
      else if (event.key === "/") {
        const search = document.querySelector<HTMLInputElement>("main input[type=search]");
        if (!search) return;
        event.preventDefault();
        search.focus();
        search.select();
      }
    };
    addEventListener("keydown", onKey);
    return () => removeEventListener("keydown", onKey);
  }, [go]);
  return (
    <>
      <button type="button" className="link small" onClick={() => setShown(true)}>
        {t.keys.open} <kbd>?</kbd>
      </button>
      {shown && <KeyList onClose={() => setShown(false)} />}
    </>
  );
}

function KeyList({ onClose }: { onClose: () => void }) {
  const t = useT();
  const dialog = useRef<HTMLDialogElement>(null);
  const heading = useId();
  const [on, setOn] = useState(singleKeysAreOn);
  useEffect(() => dialog.current?.showModal(), []);
  const rows: [string[], string][] = [
    ...(Object.keys(PLACES) as Letter[]).map((letter): [string[], string] => [["g", letter], t.keys.go[letter]]),
    [["/"], t.keys.search],
    [["?"], t.keys.list],
    [["1–6"], t.keys.tabs],
    [["l"], t.keys.logScale],
    [["0"], t.keys.resetZoom],
  ];
  return (
    <dialog ref={dialog} aria-labelledby={heading} onClose={onClose}>
      <div className="stack">
        <h2 id={heading}>{t.keys.title}</h2>
        <dl className="keys">
          {rows.map(([keys, meaning]) => (
            <div key={meaning} className="fact">
              <dt>
                {keys.map((key) => (
                  <kbd key={key}>{key}</kbd>
                ))}
              </dt>
              <dd>{meaning}</dd>
            </div>
          ))}
        </dl>
        <label className="row">
          <input
            type="checkbox"
            checked={on}
            onChange={(event) => {
              localStorage.setItem(KEPT, event.target.checked ? "on" : "off");
              setOn(event.target.checked);
            }}
          />
          {t.keys.single}
        </label>
        <p>
          <Button onClick={() => dialog.current?.close()}>{t.actions.close}</Button>
        </p>
      </div>
    </dialog>
  );
}
