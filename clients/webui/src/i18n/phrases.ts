/** What the server says in English, said in another language by what it looks like. */

export type Phrases = readonly (readonly [told: RegExp, say: (...parts: (string | undefined)[]) => string])[];

/** Says a text in the words of the first phrase that it fits; undefined where it fits none. */
export const saidBy =
  (phrases: Phrases) =>
  (told: string): string | undefined => {
    for (const [pattern, say] of phrases) {
      const found = pattern.exec(told);
      if (found) return say(...found.slice(1));
    }
    return undefined;
  };
