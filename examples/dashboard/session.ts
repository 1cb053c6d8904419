import type { IncomingMessage } from "node:http";

/** Stands for your own check of the session. */
export function isAdmin({ headers }: IncomingMessage): boolean {
  return headers.cookie === "session=admin";
}
