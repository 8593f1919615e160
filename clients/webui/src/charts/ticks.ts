/** What stands at the ticks of an axis: as many digits as tell neighbours apart, and no wrong ones. */

import { duration, number, percent } from "../format";

/** Decimals of a distance between ticks: 2 of 0.25. */
function decimalsOf(distance: number): number {
  for (let decimals = 0; decimals < 15; decimals++) {
    const scaled = distance * 10 ** decimals;
    if (scaled > 0.5 && Math.abs(scaled - Math.round(scaled)) < 1e-6 * scaled) return decimals;
  }
  return 15;
}

/** Says numbers that lie so far apart. */
export function numbersApartBy(distance: number): (value: number) => string {
  const decimals = decimalsOf(distance);
  return (value) => {
    const whole = value === 0 ? 1 : Math.floor(Math.log10(Math.abs(value)) + 1e-9) + 1;
    return number(value, Math.min(Math.max(4, whole + decimals), 15));
  };
}

/** Says shares as percentages. */
export function sharesApartBy(distance: number): (value: number) => string {
  const decimals = decimalsOf(distance * 100);
  return (value) => percent(value, decimals);
}

/** Says seconds: from a minute on with them only where they differ, and hours in days where days would be too coarse. */
export const durationsApartBy = (distance: number) => (value: number) => {
  if (value < 60 || distance >= 3600) return duration(value);
  const minutes = Math.floor(value / 60);
  const [hours, rest] = [Math.floor(minutes / 60), minutes % 60];
  const told = hours ? `${hours} h ${String(rest).padStart(2, "0")} min` : `${rest} min`;
  return distance < 60 ? `${told} ${String(Math.round(value % 60)).padStart(2, "0")} s` : told;
};

/** Distances between ticks of steps: there are no half steps. */
export const WHOLE = Array.from({ length: 10 }, (_, power) => [1, 2, 5].map((each) => each * 10 ** power)).flat();

const DAY = 86_400;

/** Distances between ticks of time, in seconds. */
export const TIMES = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, ...WHOLE.slice(0, 9).map((each) => each * DAY)];
