/** The jobs whose end this tab tells by a notification, by name. */
export const endsTold = new Set<string>();
