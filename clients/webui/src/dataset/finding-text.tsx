/** What a finding says of its case: in the reader's language where its figures are known, else in the server's words. */

import type { FindingJson } from "../gen/tuneyard/v1/dataset_pb";
import { useT } from "../i18n";
import { ownMessage, shortMessage } from "./findings";

export function FindingText({ finding }: { finding: FindingJson }) {
  const { messages, remedies } = useT().datasets;
  const own = ownMessage(finding, messages);
  if (own) return own;
  const told = shortMessage(finding);
  return remedies[finding.code ?? ""] ? <span lang="en">{told}</span> : told;
}
