/** Which language the page speaks: the reader's choice, else the browser's. Each language is a chunk of its own. */

import { createContext, useContext, useEffect, useState, type ReactNode } from "react";

import type { Messages } from "./en";

export type Language = "en" | "zh";
export const LANGUAGES: readonly { id: Language; name: string }[] = [
  { id: "en", name: "English" },
  { id: "zh", name: "中文" },
];

const KEY = "tuneyard.language";
const load: Record<Language, () => Promise<Messages>> = {
  en: async () => (await import("./en")).en,
  zh: async () => (await import("./zh")).zh,
};

interface Speech {
  t: Messages;
  language: Language;
  choose: (language: Language) => void;
}

const Context = createContext<Speech | null>(null);

function preferred(): Language {
  const kept = localStorage.getItem(KEY);
  if (kept === "en" || kept === "zh") return kept;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

export function Speaking({ children }: { children: ReactNode }) {
  const [language, choose] = useState<Language>(preferred);
  const [messages, setMessages] = useState<Messages | null>(null);
  useEffect(() => {
    let current = true;
    void load[language]().then((found) => {
      if (!current) return;
      document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
      setMessages(found);
    });
    return () => {
      current = false;
    };
  }, [language]);
  if (!messages) return null;
  const keep = (chosen: Language) => {
    localStorage.setItem(KEY, chosen);
    choose(chosen);
  };
  return <Context.Provider value={{ t: messages, language, choose: keep }}>{children}</Context.Provider>;
}

export function useSpeech(): Speech {
  const found = useContext(Context);
  if (!found) throw new Error("outside of <Speaking>");
  return found;
}

export const useT = (): Messages => useSpeech().t;
