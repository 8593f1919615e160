/** Numbers as people read them: four significant digits, units with a space, times by the language. */

const SIZES = ["B", "kB", "MB", "GB", "TB"] as const;

/** Bytes: "6.1 GB". */
export function bytes(value: number | string | undefined): string {
  let size = Number(value ?? 0);
  let unit = 0;
  while (size >= 1000 && unit < SIZES.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${size >= 100 || unit === 0 ? Math.round(size) : size.toFixed(1)} ${SIZES[unit]}`;
}

/** Four significant digits or as many as are asked for; an exponent below a thousandth. */
export function number(value: number | undefined, digits = 4): string {
  if (value === undefined || Number.isNaN(value)) return "–";
  if (value !== 0 && Math.abs(value) < 1e-3) return value.toExponential(Math.max(2, digits - 2)).replace("e-", "e−");
  return new Intl.NumberFormat(document.documentElement.lang || "en", { maximumSignificantDigits: digits }).format(value);
}

/** Whole numbers with separators: "100,000". */
export const count = (value: number | string | undefined) =>
  new Intl.NumberFormat(document.documentElement.lang || "en").format(Number(value ?? 0));

/** A model's parameters: "7.24 B", in Chinese "72.4 亿". */
export const parameters = (value: number | string) =>
  new Intl.NumberFormat(document.documentElement.lang || "en", { notation: "compact", maximumSignificantDigits: 3 })
    .format(Number(value))
    .replace(/(\d)(\D+)$/, "$1\u00a0$2");

/** "62 %", in Chinese "62%". */
export function percent(value: number, digits = 0): string {
  const language = document.documentElement.lang || "en";
  const options = { style: "percent", minimumFractionDigits: digits, maximumFractionDigits: digits } as const;
  const text = new Intl.NumberFormat(language, options).format(value);
  return language.startsWith("zh") ? text : text.replace(/\s?%/, "\u00a0%");
}

/** Seconds of a proto3 JSON duration such as "12.5s". */
export const seconds = (duration: string | undefined) => (duration ? Number(duration.slice(0, -1)) : undefined);

/** "45 s", "12 min", "3 h 05 min", "2 d 4 h". */
export function duration(value: number | undefined): string {
  if (value === undefined || !Number.isFinite(value)) return "–";
  const whole = Math.round(value);
  if (whole < 60) return `${whole} s`;
  const minutes = Math.round(whole / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours} h ${String(minutes % 60).padStart(2, "0")} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A moment in the reader's language and zone. */
export const moment = (time: string | undefined) =>
  time
    ? new Intl.DateTimeFormat(document.documentElement.lang || "en", { dateStyle: "medium", timeStyle: "short" }).format(new Date(time))
    : "–";
