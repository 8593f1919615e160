// When to give up on something that keeps failing without getting any further.

import { setTimeout as sleep } from "node:timers/promises";
import { TuneyardError } from "./errors.js";

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2_000;
/** However long a server asks for. */
const LONGEST_RETRY_AFTER_MS = 30_000;

export class Patience {
  #failingSince: number | undefined;
  #pauseMs = 0;

  constructor(
    readonly limitMs: number,
    readonly signal?: AbortSignal,
  ) {}

  /** It got further: the time starts anew. */
  progressed(): void {
    this.#failingSince = undefined;
    this.#pauseMs = 0;
  }

  /** Ends once the next attempt is due; throws an error that is not transient, or has lasted too long. */
  async after(error: unknown): Promise<void> {
    if (!(error instanceof TuneyardError && error.transient)) {
      throw error;
    }
    await this.wait(error);
  }

  /** `after`, whatever the error is. */
  async wait(error: TuneyardError): Promise<void> {
    const now = performance.now();
    this.#failingSince ??= now;
    if (now - this.#failingSince >= this.limitMs) {
      throw error;
    }
    this.#pauseMs = Math.min(Math.max(2 * this.#pauseMs, FIRST_PAUSE_MS), LONGEST_PAUSE_MS);
    // Spread, so that clients do not come in step.
    const pause = this.#pauseMs * (0.75 + Math.random() / 2);
    const asked = Math.min(error.retryAfterMs, LONGEST_RETRY_AFTER_MS);
    try {
      await sleep(Math.max(pause, asked), undefined, { signal: this.signal });
    } catch (aborted) {
      throw TuneyardError.from(aborted, true);
    }
  }
}
