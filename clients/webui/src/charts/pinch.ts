/** Two fingers on a chart zoom and move it; one scrolls the page. */

import type { Range } from "./plot";

/** Where two fingers are, as shares of the plot's width. */
type Fingers = readonly [number, number];

/** Nearer fingers than this share of the width say nothing about a zoom. */
const NEAREST = 0.02;

/** The range with which what was below each finger is below it again; null shows everything. */
export function pinched(shown: Range, before: Fingers, now: Fingers, all: Range): Range | null {
  const span = shown[1] - shown[0];
  const [first, second] = before.map((share) => shown[0] + share * span) as [number, number];
  const apart = now[1] - now[0];
  if (Math.abs(apart) < NEAREST || apart * (before[1] - before[0]) <= 0) return shown;
  const wide = (second - first) / apart;
  const from = Math.max(first - now[0] * wide, all[0]);
  const to = Math.min(from + wide, all[1]);
  return from <= all[0] && to >= all[1] ? null : [from, to];
}

/** Listens on a plot's area. `shown` is what it shows at the moment, `all` all that there is. */
export function listenToPinches(area: HTMLElement, view: { shown: () => Range; all: () => Range; onRange: (range: Range | null) => void }) {
  let began: { fingers: Fingers; shown: Range } | undefined;
  const fingersOf = (event: TouchEvent): Fingers => {
    const { left, width } = area.getBoundingClientRect();
    const [first, second] = [...event.touches].map((touch) => (touch.clientX - left) / width);
    return [first!, second!];
  };
  area.addEventListener("touchstart", (event) => {
    began = event.touches.length === 2 ? { fingers: fingersOf(event), shown: view.shown() } : undefined;
  });
  area.addEventListener(
    "touchmove",
    (event) => {
      if (!began || event.touches.length !== 2) return;
      event.preventDefault();
      view.onRange(pinched(began.shown, began.fingers, fingersOf(event), view.all()));
    },
    { passive: false },
  );
  area.addEventListener("touchend", () => (began = undefined));
  area.addEventListener("touchcancel", () => (began = undefined));
}
