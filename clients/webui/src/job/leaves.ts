/** A spec as a flat list of settings, each by its path. */

export type Leaf = [path: string, value: string];

/** The settings below a value: "training.hyperparameters.epochs" is "3". */
export function leaves(value: unknown, prefix = ""): Leaf[] {
  if (Array.isArray(value)) return [[prefix, value.join(", ")]];
  if (typeof value === "object" && value !== null)
    return Object.entries(value).flatMap(([name, inner]) => leaves(inner, prefix ? `${prefix}.${name}` : name));
  return [[prefix, String(value)]];
}

/** A path without the kind of work that it belongs to. */
export const shortPath = (path: string) => path.slice(path.indexOf(".") + 1);
