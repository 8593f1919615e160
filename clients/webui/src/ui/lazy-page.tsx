/** Pages that are fetched when they are first opened, also while the server is away for a moment; and what is shown if one fails. */

import { Component, lazy, type ComponentType, type ReactNode } from "react";

import { useT } from "../i18n";
import { Button } from "./parts";

const PAUSES = [500, 1_000, 2_000, 4_000, 8_000, 8_000];

/** Asks again while it fails: a restart of the server must not end in an empty page. */
export async function patiently<M>(load: () => Promise<M>, sleep = (ms: number) => new Promise((done) => setTimeout(done, ms))): Promise<M> {
  for (const pause of PAUSES) {
    try {
      return await load();
    } catch {
      await sleep(pause);
    }
  }
  return load();
}

export const lazyPage = <P extends object>(load: () => Promise<{ default: ComponentType<P> }>) =>
  lazy<ComponentType<P>>(() => patiently(load));

interface Props {
  /** The place that the pages belong to: another one is shown afresh. */
  place: string;
  children: ReactNode;
}

/** Keeps a fault of one page to that page. */
export class Boundary extends Component<Props, { hasFailed: boolean }> {
  override state = { hasFailed: false };

  static getDerivedStateFromError() {
    return { hasFailed: true };
  }

  override componentDidUpdate(before: Props) {
    if (before.place !== this.props.place && this.state.hasFailed) this.setState({ hasFailed: false });
  }

  override render() {
    return this.state.hasFailed ? <Broken /> : this.props.children;
  }
}

function Broken() {
  const t = useT();
  return (
    <main className="page" id="content">
      <h1>{t.broken.title}</h1>
      <div className="stack">
        <p>{t.broken.text}</p>
        <p>
          <Button look="primary" onClick={() => location.reload()}>
            {t.broken.reload}
          </Button>
        </p>
      </div>
    </main>
  );
}
