/** Where the server's token is told: a page of its own at first, a dialog over what was being done where a session ended. */

import { useEffect, useId, useLayoutEffect, useRef, useState, type ReactNode } from "react";

import { signIn, type SignInFault } from "../api/session";
import { useT } from "../i18n";
import { Button, Page } from "./parts";

export function SignInPage({ children }: { children: ReactNode }) {
  const t = useT();
  return (
    <div className="sign-in">
      <Page title={t.signIn.title}>
        <div className="stack">
          <p>{t.signIn.text}</p>
          <TokenForm />
        </div>
      </Page>
      <div className="row">{children}</div>
    </div>
  );
}

export function SignInDialog() {
  const t = useT();
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useLayoutEffect(() => {
    const element = dialog.current;
    element?.showModal();
    // Before it goes, so that the focus returns to where it was.
    return () => element?.close();
  }, []);
  return (
    <dialog
      ref={dialog}
      aria-labelledby={`${id}-title`}
      aria-describedby={`${id}-text`}
      onCancel={(event) => event.preventDefault()}
      onClose={() => dialog.current?.showModal()}
    >
      <div className="stack">
        <h2 id={`${id}-title`}>{t.signIn.again}</h2>
        <p id={`${id}-text`}>{t.signIn.againText}</p>
        <TokenForm />
      </div>
    </dialog>
  );
}

function TokenForm() {
  const t = useT();
  const id = useId();
  const field = useRef<HTMLInputElement>(null);
  const [token, setToken] = useState("");
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<SignInFault>();
  useEffect(() => field.current?.focus(), []);
  const send = async () => {
    setBusy(true);
    setFault(undefined);
    const met = await signIn(token.trim());
    setBusy(false);
    setFault(met);
    if (met) field.current?.select();
  };
  return (
    <form
      className="stack"
      onSubmit={(event) => {
        event.preventDefault();
        if (!busy) void send();
      }}
    >
      <div className="field">
        <label htmlFor={id}>{t.signIn.token}</label>
        <input
          id={id}
          ref={field}
          className="input"
          type="password"
          autoComplete="current-password"
          spellCheck={false}
          required
          value={token}
          aria-invalid={fault ? true : undefined}
          aria-describedby={fault ? `${id}-fault ${id}-hint` : `${id}-hint`}
          onChange={(event) => setToken(event.target.value)}
        />
        {fault && (
          <span id={`${id}-fault`} className="small violation" role="alert">
            {t.signIn.faults[fault]}
          </span>
        )}
        <span id={`${id}-hint`} className="hint">
          {t.signIn.hint}
        </span>
      </div>
      <p>
        <Button type="submit" look="primary" busy={busy}>
          {t.signIn.submit}
        </Button>
      </p>
    </form>
  );
}
