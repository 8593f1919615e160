/** What is unusual about a setting: in the reader's language where that has words for it, else in the server's words. */

import { useT } from "../i18n";

export function Warning({ told }: { told: string }) {
  const t = useT();
  return t.training.warningOf(told) ?? <span lang="en">{told}</span>;
}
