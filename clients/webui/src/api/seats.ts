/** A page's live connections take turns: a browser has six for a server in all its tabs, and every other call needs one too. */

/** Connections at once. */
export const SEATS = 3;
/** Milliseconds that one may stay while another waits. */
export const TURN = 3000;

interface Guest {
  enter: () => void;
  leave: () => void;
}

/** Who has a seat, the longest first. */
const seated: Guest[] = [];
const waiting: Guest[] = [];
let timer: ReturnType<typeof setTimeout> | undefined;

/**
 * Waits for a seat; what is returned gives it back. `leave` is called when it is another's turn.
 * Whoever no longer wants one gives it back as well, whether it came or not.
 */
export async function seat(leave: () => void, stop: AbortSignal): Promise<() => void> {
  let guest!: Guest;
  await new Promise<void>((resolve) => {
    const enter = () => resolve();
    guest = { enter, leave };
    waiting.push(guest);
    stop.addEventListener("abort", enter, { once: true });
    fill();
  });
  stop.removeEventListener("abort", guest.enter);
  return () => {
    for (const list of [seated, waiting]) if (list.includes(guest)) list.splice(list.indexOf(guest), 1);
    fill();
  };
}

function fill() {
  while (seated.length < SEATS && waiting.length) {
    const next = waiting.shift()!;
    seated.push(next);
    next.enter();
  }
  if (waiting.length && timer === undefined)
    timer = setTimeout(() => {
      timer = undefined;
      if (waiting.length) seated[0]?.leave();
      fill();
    }, TURN);
}
